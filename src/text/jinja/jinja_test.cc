// The template language against Python's Jinja2 (a table that tools/make_jinja_cases.py wrote), then what Jinja2 has
// not: provenance of every byte, and bounds.
#include "base/error.h"
#include "base/json.h"
#include "tests/precompiled.h"
#include "tests/testing.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

std::tm fixed_clock() {
  std::tm t{};
  t.tm_year = 125, t.tm_mday = 20, t.tm_hour = 9, t.tm_min = 30, t.tm_wday = 1, t.tm_yday = 19;  // 2025-01-20 09:30
  return t;
}

std::string render(const std::string& source, const json::object& context = {}) {
  return joined(ChatTemplate(source).render(context, {}, fixed_clock));
}

TEST(Jinja, AgreesWithPythonsJinja2) {
  const std::filesystem::path folder = testing::source_dir() / "src" / "text" / "testdata";
  size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with("jinja")) continue;
    std::istringstream lines(testing::read_file(entry.path()));
    json::object context;
    for (std::string line; std::getline(lines, line);) {
      const json::value record = parse_json(line, "cases");
      if (const json::value* shared = record.as_object().if_contains("context")) {
        context = shared->as_object();
        continue;
      }
      const std::string source(record.at("template").as_string());
      const json::value* output = record.as_object().if_contains("output");
      ++cases;
      try {
        const std::string got = render(source, context);
        if (output)
          EXPECT_EQ(got, std::string(output->as_string())) << source;
        else
          ADD_FAILURE() << "expected an error of " << source << "\nfound " << got;
      } catch (const Error& e) {
        EXPECT_EQ(output, nullptr) << source << "\n" << e.what();
      }
    }
  }
  EXPECT_GT(cases, 0u);
}

using Pieces = std::vector<TextPiece>;

Pieces pieces(const std::string& source) {
  const json::value context =
      parse_json(R"({"m": "ab<|x|>cd", "n": 7, "o": {"k": "v"}, "l": ["p", "q"], "eos_token": "<E>"})", "test");
  return ChatTemplate(source).render(context.as_object(), {}, fixed_clock);
}

TEST(Jinja, EveryByteKnowsWhereItCameFrom) {
  EXPECT_EQ(pieces("<u>{{ m }}<e>{{ eos_token }}"), (Pieces{{"<u>", true}, {"ab<|x|>cd", false}, {"<e><E>", true}}));
  EXPECT_EQ(pieces("{{ '<u>' + m[1:-1] + '<e>' }}"), (Pieces{{"<u>", true}, {"b<|x|>c", false}, {"<e>", true}}));
  EXPECT_EQ(pieces("{{ ('<u>' ~ m)|upper|replace('<|', '<') }}"),
            (Pieces{{"<U>", true}, {"AB", false}, {"<", true}, {"X|>CD", false}}));
  EXPECT_EQ(pieces("{{ (' ' ~ m ~ ' ')|trim }}"), (Pieces{{"ab<|x|>cd", false}}));
  EXPECT_EQ(pieces("{{ m.split('|')[1] }}{{ l|join('+') }}"), (Pieces{{"xp", false}, {"+", true}, {"q", false}}));
  EXPECT_EQ(pieces("{{ '%s:%s' % (m, 1) }}"), (Pieces{{"ab<|x|>cd", false}, {":1", true}}));
  EXPECT_EQ(pieces("{{ m[::-1][0] }}{{ n }}{{ n + 1 }}{{ 1 + 1 }}"), (Pieces{{"d78", false}, {"2", true}}));
  EXPECT_EQ(pieces("{% set x %}a{{ m }}{% endset %}{{ x }}"), (Pieces{{"a", true}, {"ab<|x|>cd", false}}));
  EXPECT_EQ(pieces("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(l[0]) }}"),
            (Pieces{{"<", true}, {"p", false}, {">", true}}));
  EXPECT_EQ(pieces("{{ o|tojson }}{{ o }}"), (Pieces{{R"({"k": "v"}{'k': 'v'})", false}}));
  EXPECT_EQ(pieces("{% for k, v in o.items() %}{{ k }}={{ v }}{% endfor %}"),
            (Pieces{{"k", false}, {"=", true}, {"v", false}}));
  EXPECT_EQ(pieces("{{ '{}!'.format(m) }}"), (Pieces{{"ab<|x|>cd", false}, {"!", true}}));
  EXPECT_EQ(pieces("{{ m|e }}{{ [m]|map('upper')|first }}{{ (m|from_json) if false else m.center(11, '*') }}"),
            (Pieces{{"ab&lt;|x|&gt;cdAB<|X|>CD", false}, {"*", true}, {"ab<|x|>cd", false}, {"*", true}}));
}

TEST(Jinja, RequestsCannotSetTheSpecialTokens) {
  const ChatTemplate chat("{{ bos_token }}{{ messages|length }}{{ tools is none }}{{ x }}");
  RenderOptions options{.messages = {}, .tools = nullptr, .bos_token = "<B>", .eos_token = "", .extra = {{"x", "y"}}};
  EXPECT_EQ(chat.render(options), (Pieces{{"<B>0True", true}, {"y", false}}));
  options.extra["eos_token"] = "<E>";
  EXPECT_THROW(chat.render(options), Error);
}

TEST(Jinja, ErrorsNameTheLineAndWhatIsWrong) {
  const auto message = [](const std::string& source) -> std::string {
    try {
      return "no error: " + render(source);
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_EQ(message("a\n{% for x in %}"), "chat template, line 2: expected an expression, found %}");
  EXPECT_EQ(message("a\n\n{{ x.y }}"), "chat template, line 3: 'x' is undefined, so it has no attribute 'y'");
  EXPECT_EQ(message("{{ raise_exception('odd roles') }}"),
            "chat template, line 1: the template refuses this conversation: odd roles");
  EXPECT_EQ(message("{{ 1|nope }}"), "chat template, line 1: expected a known filter, found nope");
}

TEST(Jinja, MentionsTheVariablesThatAreRead) {
  const ChatTemplate chat("{% set a = 1 %}{% if enable_thinking is defined %}{{ m.thinking }}{% endif %}");
  EXPECT_TRUE(chat.mentions("enable_thinking"));
  EXPECT_FALSE(chat.mentions("thinking"));
}

// Attacks: each must end in an Error, soon and in little memory.
TEST(Jinja, HostileTemplatesEndInAnError) {
  const std::string deep(5000, '(');
  std::string chain = "{{ 1";
  for (int i = 0; i < 5000; ++i) chain += "+1";
  std::string elifs = "{% if 0 %}", ifs;
  for (int i = 0; i < 5000; ++i) elifs += "{% elif 0 %}", ifs += "{% if 1 %}";
  const std::vector<std::string> attacks = {
      "{{ " + deep,
      "{{ " + std::string(5000, '[') + "}}",
      chain + " }}",
      elifs + "{% endif %}",
      ifs,
      "{{ " + std::string(5000, '-') + "1 }}",
      "{% for i in range(1000000000) %}{% endfor %}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{{ 'x' * 99999999999 }}",
      "{{ [0] * 99999999999 }}",
      "{{ 9 ** 99999999 }}",
      "{{ '%99999999d' % 1 }}",
      "{{ '%.99999999f' % 1 }}",
      "{{ 'x'.center(99999999999) }}",
      "{{ '{:99999999}'.format(1) }}",
      "{{ 'a'|indent(99999999) }}",
      "{{ l|tojson(indent=99999999) }}",
      "{% set ns = namespace(s='x' * 1000) %}{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(100) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = "
      "[ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
      "{{ 'aaaa'.replace('', 'x' * 1000000).replace('', 'x' * 1000000) }}",
      "{{ strftime_now('%99999999Y') }}",
      "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
      "{{ 170141183460469231731687303715884105727 }}",
      "{{ 2 ** 126 * 4 }}",
      "{{ {[]: 1} }}",
      "{{ l[::-9223372036854775808]|nope }}"};
  const RenderLimits limits{.steps = 2'000'000, .bytes = 64 << 20, .output_bytes = 8 << 20};
  for (const std::string& attack : attacks)
    EXPECT_THROW(ChatTemplate(attack).render(json::object(), limits, fixed_clock), Error) << attack.substr(0, 80);
}

TEST(Jinja, CirclesOfMacrosAndNamespacesAreFreed) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{% macro f() %}{{ ns.me.f is defined }}{% endmacro %}"
                   "{% set ns.f = f %}{% for i in range(1000) %}{% set ns.me = namespace(last=ns.me, l=[loop, ns]) "
                   "%}{% endfor %}{{ f() }}"),
            "False");
}

// Damaged templates may render or fail, and nothing else.
TEST(Jinja, DamagedTemplatesDoNoHarm) {
  std::vector<std::string> seeds = {
      "{% for x in l if x %}{{ loop.index ~ x|upper }}{% else %}-{% endfor %}{% set a, b = (1, 2) %}{# c #}{%- raw "
      "%}{{{% endraw %}",
      "{% macro m(a, b=2) %}{{ a['k'][1:-1].x if b is not none else {'q': [1, 2.5e3]}|tojson(indent=2) }}{% endmacro "
      "%}{{ m(o, b=n) }}"};
  if (const auto folder = testing::shared_path("data/templates"))
    for (const auto& entry : std::filesystem::directory_iterator(*folder))
      if (entry.path().extension() == ".jinja") seeds.push_back(testing::read_file(entry.path()));
  const json::value context = parse_json(
      R"({"messages": [{"role": "user", "content": "hi"}], "l": [1, "b"], "o": {"k": "abc"}, "n": null})", "test");
  std::mt19937 random(3);
  int rendered = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string source = seeds[random() % seeds.size()];
    for (size_t n = 1 + random() % 3; n > 0 && !source.empty(); --n) {
      const size_t at = random() % source.size(), size = random() % 12;
      const std::string piece = source.substr(random() % source.size(), random() % 12);
      source.replace(at, std::min(size, source.size() - at), piece);
    }
    try {
      ChatTemplate(source).render(context.as_object(), {.steps = 100000, .bytes = 10000000}, fixed_clock);
      ++rendered;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(rendered, 0);
}

}  // namespace
}  // namespace fathom
