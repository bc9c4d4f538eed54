#include "text/pretokenizer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/pretokenizer_scanners.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Stage = PretokenizerStage;

constexpr Stage runs(uint16_t mask, uint32_t max_run = Stage::kNoLimit) {
  return {.kind = Stage::Kind::kRuns, .mask = mask, .max_run = max_run};
}
constexpr Stage spaced_runs(uint16_t mask) {
  return {.kind = Stage::Kind::kRuns, .mask = mask, .optional_space = true};
}
constexpr Stage words(Stage::Kind kind, uint32_t max_run = Stage::kNoLimit) {
  return {.kind = kind, .max_run = max_run};
}

struct Known {
  const char* name;
  std::vector<Stage> stages;
  std::vector<std::string> patterns;  // one per stage
};

std::string class_of(std::span<const CodePointRange> ranges) {
  std::string out;
  for (const CodePointRange& range : ranges) {
    append_utf8(out, range.first);
    if (range.last > range.first + 1) out += '-';
    if (range.last > range.first) append_utf8(out, range.last);
  }
  return out;
}

std::vector<Known> make_known() {
  using Kind = Stage::Kind;
  const std::string gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  const auto llama = [](const char* number) {
    return cat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)", number,
               R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  };
  const std::string deepseek =
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
      R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string wide = "[一-龥ࠀ-一가-퟿]+";
  const std::string letters = cat(R"(\s?[)", class_of(deepseek_llm_letters()), "]+");
  return {
      {"deepseek-v3",
       {runs(kNumber, 3), runs(kKanaOrHan), words(Kind::kDeepSeekWords)},
       {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", deepseek}},
      {"deepseek-llm",
       {runs(kNewline, 1), spaced_runs(kCasedLetter), spaced_runs(kListedPunct), words(Kind::kTrailingSpace),
        runs(kWideIdeograph), runs(kNumber, 1)},
       {R"([\r\n])", letters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", wide, R"(\p{N})"}},
      {"deepseek-coder",
       {runs(kNewline, 1), spaced_runs(kLetter), spaced_runs(kPunctuation), runs(kWideIdeograph), runs(kNumber, 1)},
       {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", wide, R"(\p{N})"}},
      {"qwen2", {words(Kind::kLlamaWords, 1)}, {llama(R"(\p{N})")}},
      {"llama-bpe", {words(Kind::kLlamaWords, 3)}, {llama(R"(\p{N}{1,3})")}},
      {"gpt-2", {words(Kind::kGpt2Words)}, {gpt2}},
      {"smollm", {runs(kNumber, 1), words(Kind::kGpt2Words)}, {R"(\p{N})", gpt2}},
  };
}

const std::vector<Known>& all_known() {
  static const std::vector<Known> known = make_known();
  return known;
}

const Known& find_known(const std::string& pre) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kAliases = {{{"deepseek-r1-qwen", "qwen2"},
                                                                                      {"deepseek3", "deepseek-v3"},
                                                                                      {"llama3", "llama-bpe"},
                                                                                      {"llama-v3", "llama-bpe"},
                                                                                      {"gpt2", "gpt-2"}}};
  std::string_view name = pre;
  for (const auto& [alias, real] : kAliases)
    if (name == alias) name = real;
  std::string names;
  for (const Known& known : all_known()) {
    if (name == known.name) return known;
    names += cat(names.empty() ? "" : ", ", known.name);
  }
  throw Error(cat("pre-tokenizer: expected one of ", names, ", found \"", pre.substr(0, 64), "\""));
}

/// Carriage return and line feed written as themselves become the escapes; nothing else is changed.
std::string with_escapes(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) {
    if (c == '\r') {
      out += R"(\r)";
    } else if (c == '\n') {
      out += R"(\n)";
    } else {
      out += c;
    }
  }
  return out;
}

/// The set of a pattern `\s?[...]+` whose class is written with plain characters and ranges only, as sorted, merged
/// ranges; nullopt for any other pattern.
std::optional<std::vector<CodePointRange>> plain_class(std::string_view pattern) {
  constexpr std::string_view kHead = R"(\s?[)", kTail = "]+";
  if (!pattern.starts_with(kHead) || !pattern.ends_with(kTail) || pattern.size() < kHead.size() + kTail.size())
    return std::nullopt;
  pattern = pattern.substr(kHead.size(), pattern.size() - kHead.size() - kTail.size());
  if (valid_utf8_prefix(pattern) != pattern.size() || pattern.find_first_of("\\[]^&") != pattern.npos)
    return std::nullopt;
  std::vector<CodePointRange> ranges;
  const auto take = [&] {
    const Utf8Char c = decode_valid_utf8(pattern.data());
    pattern.remove_prefix(c.size);
    return c.code_point;
  };
  while (!pattern.empty()) {
    CodePointRange range{take(), 0};
    range.last = range.first;
    if (pattern.size() > 1 && pattern[0] == '-') {
      pattern.remove_prefix(1);
      range.last = take();
    }
    if (range.last < range.first) return std::nullopt;
    ranges.push_back(range);
  }
  std::sort(ranges.begin(), ranges.end(), [](auto a, auto b) { return a.first < b.first; });
  std::vector<CodePointRange> merged;
  for (const CodePointRange& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

bool same_pattern(std::string_view a, std::string_view b) {
  if (with_escapes(a) == with_escapes(b)) return true;
  const auto set_a = plain_class(a), set_b = plain_class(b);
  const auto same = [](CodePointRange x, CodePointRange y) { return x.first == y.first && x.last == y.last; };
  return set_a && set_b && std::equal(set_a->begin(), set_a->end(), set_b->begin(), set_b->end(), same);
}

class ScannerPretokenizer : public Pretokenizer {
 public:
  explicit ScannerPretokenizer(std::span<const Stage> stages) : stages_(stages) {}
  void split(std::string_view text, Emit emit) const override { split_by_stages(text, stages_, emit); }

 private:
  std::span<const Stage> stages_;  // of all_known(), which lives as long as the process
};

}  // namespace

std::unique_ptr<const Pretokenizer> make_pretokenizer(const std::string& pre, std::span<const std::string> patterns) {
  const std::string name = pre.empty() ? known_pre(patterns) : pre;
  if (name.empty()) return make_regex_pretokenizer(patterns);
  return std::make_unique<ScannerPretokenizer>(find_known(name).stages);
}

std::string known_pre(std::span<const std::string> patterns) {
  for (const Known& known : all_known())
    if (std::equal(patterns.begin(), patterns.end(), known.patterns.begin(), known.patterns.end(), same_pattern))
      return known.name;
  return "";
}

std::vector<std::string> patterns_of(const std::string& pre) { return find_known(pre).patterns; }

std::vector<std::string> known_pre_names() {
  std::vector<std::string> names;
  for (const Known& known : all_known()) names.emplace_back(known.name);
  return names;
}

}  // namespace fathom
