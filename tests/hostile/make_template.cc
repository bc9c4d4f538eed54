// L6: chat templates that nest, recurse, loop or grow without end. What the interpreter refuses beyond this is in
// text/jinja/jinja_test.cc; here they come in model files.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

std::string repeated(std::string_view text, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += text;
  return out;
}

HostileCase template_case(std::string name, std::string source) {
  return gguf_case(std::move(name), [=] {
    TinyGguf tiny;
    tiny.chat_template = source;
    return tiny.bytes();
  });
}

}  // namespace

std::vector<HostileCase> template_cases() {
  return {
      template_case("L6_brackets_nest", "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"),
      template_case("L6_lists_nest", "{{ " + std::string(5000, '[') + std::string(5000, ']') + " }}"),
      template_case("L6_operators_chain", "{{ 1" + repeated("+1", 5000) + " }}"),
      template_case("L6_filters_chain", "{{ 1" + repeated("|string", 5000) + " }}"),
      template_case("L6_conditions_nest", repeated("{% if 1 %}", 5000)),
      template_case("L6_conditions_chain", "{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% endif %}"),
      template_case("L6_loops_nest", repeated("{% for a in [1] %}", 300) + repeated("{% endfor %}", 300)),
      template_case("L6_macro_calls_itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
      template_case("L6_loop_calls_itself", "{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}"),
      template_case("L6_range_without_end", "{% for i in range(1000000000) %}{% endfor %}"),
      template_case("L6_loops_multiply",
                    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
      template_case("L6_text_multiplies", "{{ 'x' * 99999999999 }}"),
      template_case("L6_text_doubles",
                    "{% set n = namespace(s='xx') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}"),
      template_case("L6_lists_double",
                    "{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}"),
      template_case("L6_lists_deepen",
                    "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}"),
      template_case("L6_output_without_end", "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}"),
      template_case("L6_replacement_grows", "{{ ('a' * 9999).replace('', 'x' * 99999) }}"),
      template_case("L6_padding", "{{ 'x'.center(99999999999) }}"),
      template_case("L6_power", "{{ 9 ** 99999999 }}"),
      template_case("L6_sorting_of_much", "{% for i in range(9999) %}{{ range(99999)|sort|length }}{% endfor %}"),
      template_case("L6_unclosed", "{% for x in messages %}"),
      template_case("L6_unknown_tag", "{% include '/etc/passwd' %}"),
      template_case("L6_unknown_filter", "{{ messages|eval }}"),
      template_case("L6_dunder", "{{ messages.__class__.__mro__ }}"),
      template_case("L6_refuses", "{{ raise_exception('only \x1b[31mred\x1b[0m') }}"),
      template_case("L6_no_utf8", "{{ 'a' }}\xFF"),
      gguf_case("L6_too_long",
                [] {
                  TinyGguf tiny;
                  tiny.chat_template = std::string((1 << 20) + 1, ' ');
                  return tiny.bytes();
                }),
      gguf_case("L6_a_megabyte_of_braces",
                [] {
                  TinyGguf tiny;
                  tiny.chat_template = std::string(1 << 20, '{');
                  return tiny.bytes();
                }),
      gguf_case("L6_many_sums",
                [] {
                  TinyGguf tiny;
                  tiny.chat_template = repeated("{{ 1 }}", 140'000) + "{{ (";
                  return tiny.bytes();
                }),
      gguf_case("L6_many_comments",
                [] {
                  TinyGguf tiny;
                  tiny.chat_template = repeated("{##}", 250'000) + "{#";
                  return tiny.bytes();
                }),
  };
}

}  // namespace fathom::testing
