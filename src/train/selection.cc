#include "train/selection.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kLongestParagraph = 4000;  // characters
constexpr double kLeastShare = 0.9;
constexpr std::string_view kSpace = " \t\r\n\f\v";

Blake2b256::Digest digest_of(std::initializer_list<std::string_view> texts) {
  Blake2b256 hash;
  for (const std::string_view text : texts) {
    hash.update(std::to_string(text.size()) + ":");  // no two lists run into one
    hash.update(text);
  }
  return hash.digest();
}

/// Runs of white space as one space, none at the ends.
std::string normalised(std::string_view text) {
  std::string out;
  for (size_t at = 0; (at = text.find_first_not_of(kSpace, at)) != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    if (!out.empty()) out += ' ';
    out += text.substr(at, end - at);
    at = end;
  }
  return out;
}

Blake2b256::Digest answer_digest(std::string_view prompt, const GradedAnswer& answer) {
  return digest_of({prompt, normalised(answer.thinking), normalised(answer.text)});
}

/// The text without formulas and code between the lines; what is not closed stays.
std::string without_formulas(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kMarks[] = {
      {"$$", "$$"}, {"$", "$"}, {"`", "`"}, {"\\(", "\\)"}, {"\\[", "\\]"}};
  std::string out;
  while (!text.empty()) {
    size_t skip = 0;
    for (const auto& [open, close] : kMarks) {
      if (!text.starts_with(open)) continue;
      const size_t end = text.find(close, open.size());
      if (end != std::string_view::npos) skip = end + close.size();
      break;
    }
    out += skip ? ' ' : text.front();
    text.remove_prefix(std::max<size_t>(skip, 1));
  }
  return out;
}

bool is_latin(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0x24F && c != 0xD7 && c != 0xF7);
}
/// Kana, ideographs, Hangul.
bool is_cjk(char32_t c) {
  return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) ||
         (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

struct Words {
  size_t latin = 0, cjk = 0;
  size_t all() const { return latin + cjk; }
};
Words words_of(std::string_view given) {
  const std::string text = utf8_lossy(without_formulas(given));
  Words words;
  bool inside = false;  // a Latin word
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_valid_utf8(text.data() + at);
    const bool latin = is_latin(c.code_point);
    words.latin += latin && !inside;
    words.cjk += is_cjk(c.code_point);
    inside = latin;
    at += c.size;
  }
  return words;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t longest_paragraph(std::string_view text) {
  size_t longest = 0;
  while (!text.empty()) {
    const size_t end = text.find("\n\n");
    longest = std::max(longest, characters(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
  }
  return longest;
}

}  // namespace

std::string why_unreadable(std::string_view thinking, std::string_view prompt) {
  if (thinking.find("```") != std::string_view::npos) return "a block of code";
  if (const size_t n = longest_paragraph(thinking); n > kLongestParagraph)
    return cat("a paragraph of ", n, " characters");
  const Words asked = words_of(prompt), thought = words_of(thinking);
  if (thought.all() == 0) return {};
  const Words& by = asked.all() ? asked : thought;
  const double share =
      static_cast<double>(by.latin >= by.cjk ? thought.latin : thought.cjk) / static_cast<double>(thought.all());
  if (share < kLeastShare) return cat(static_cast<int>(100 * share), "% of its words in the prompt's script");
  return {};
}

std::vector<size_t> Selection::select(std::string_view prompt, std::span<const GradedAnswer> answers) {
  const auto right = [&](const GradedAnswer& a) { return !a.truncated && a.reward >= rule_.min_reward; };
  const bool easy = rule_.drop_all_right && std::all_of(answers.begin(), answers.end(), right);
  ++counts_.prompts, counts_.answers += answers.size();
  size_t& of_prompt = kept_of_[digest_of({prompt})];
  std::vector<size_t> kept;
  for (size_t i = 0; i < answers.size(); ++i) {
    const GradedAnswer& answer = answers[i];
    if (answer.truncated) {
      ++counts_.truncated;
    } else if (answer.reward < rule_.min_reward) {
      ++counts_.wrong;
    } else if (easy) {
      ++counts_.easy;
    } else if (rule_.readable && !why_unreadable(answer.thinking, prompt).empty()) {
      ++counts_.unreadable;
    } else if (const Blake2b256::Digest digest = answer_digest(prompt, answer); seen_.contains(digest)) {
      ++counts_.duplicates;
    } else if (rule_.keep != 0 && of_prompt == rule_.keep) {
      ++counts_.surplus;
    } else {
      seen_.insert(digest);
      kept.push_back(i);
      ++of_prompt, ++counts_.kept;
    }
  }
  return kept;
}

void Selection::remember(std::string_view prompt, const GradedAnswer& answer) {
  seen_.insert(answer_digest(prompt, answer));
  ++kept_of_[digest_of({prompt})];
}

}  // namespace fathom
