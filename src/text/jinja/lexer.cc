#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "text/jinja/text.h"

namespace fathom::jinja {
namespace {

constexpr size_t kMaxSource = size_t{1} << 20;  // published templates have up to 20 KB; a token takes 48 bytes
constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                           "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_byte(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

[[noreturn]] void fail_at(int line, std::string_view what) {
  throw Error(cat("chat template, line ", line, ": ", what));
}

std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

// The escapes of a Python string literal.
class Unescape {
 public:
  Unescape(std::string_view body, int line) : body_(body), line_(line) {}

  std::string run() {
    while (at_ < body_.size()) {
      const char c = body_[at_++];
      if (c == '\\' && at_ < body_.size())
        escape(body_[at_++]);
      else
        out_ += c;
    }
    return std::move(out_);
  }

 private:
  void escape(char c) {
    static constexpr std::string_view kNames = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t i = kNames.find(c); i != std::string_view::npos) {
      out_ += kValues[i];
    } else if (c == '\n') {
      return;  // a continued line
    } else if (c >= '0' && c <= '7') {
      --at_;
      size_t end = at_;
      while (end < body_.size() && end < at_ + 3 && body_[end] >= '0' && body_[end] <= '7') ++end;
      code(end - at_, 8);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      code(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    } else {
      out_ += '\\';
      out_ += c;
    }
  }
  void code(size_t digits, int base) {
    uint32_t value = 0;
    const std::string_view text = body_.substr(at_, digits);
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    const bool surrogate = value >= 0xD800 && value < 0xE000;
    if (ec != std::errc() || end != text.data() + text.size() || text.size() != digits || value > 0x10FFFF || surrogate)
      fail_at(line_, cat("string literal: expected a character code, found \\", text));
    at_ += digits;
    append_utf8(out_, value);
  }

  std::string_view body_;
  int line_;
  size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) data();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool follows(std::string_view what) const { return rest().starts_with(what); }
  void add(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  // Moves on to byte `to`, counting lines; remembers whether what was passed ended a line.
  void advance(size_t to) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    if (to > at_) line_starting_ = source_[to - 1] == '\n';
    at_ = to;
  }

  size_t next_tag() const {
    for (size_t i = at_; (i = source_.find('{', i)) != std::string::npos; ++i)
      if (i + 1 < source_.size() && std::string_view("{%#").find(source_[i + 1]) != std::string_view::npos) return i;
    return source_.size();
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  // Where template text [at_, tag) ends once the tag's sign and lstrip_blocks have had their say.
  size_t stripped_end(size_t tag, char sign, bool is_variable) const {
    const std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    if (sign == '-') return at_ + skip_space_back(text, text.size());
    if (sign == '+' || is_variable) return tag;
    const size_t newline = text.rfind('\n');
    if (newline == std::string_view::npos && !line_starting_) return tag;
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    return skip_space(text, line_begin) == text.size() ? at_ + line_begin : tag;
  }

  void data() {
    const size_t tag = next_tag();
    const bool at_end = tag == source_.size();
    const char sign = at_end ? '\0' : sign_at(tag + 2);
    const size_t end = at_end ? tag : stripped_end(tag, sign, source_[tag + 1] == '{');
    if (end > at_) add(TokenType::kData, source_.substr(at_, end - at_));
    if (at_end) return advance(tag);
    advance(tag + 2 + (sign ? 1 : 0));
    if (source_[tag + 1] == '#') return comment();
    if (source_[tag + 1] == '%') {
      if (const size_t body = raw_tag(at_, "raw", false); body) return raw(body);
      add(TokenType::kBlockBegin, "{%");
      return code("%}", TokenType::kBlockEnd);
    }
    add(TokenType::kVariableBegin, "{{");
    code("}}", TokenType::kVariableEnd);
  }

  // One past a tag's end mark at `at`, with what trim_blocks or a sign swallows behind it; 0 if no end mark is there.
  size_t tag_end(size_t at, std::string_view mark, bool trim) const {
    const char sign = sign_at(at);
    if (sign == '+' && mark == "}}") return 0;
    const size_t end = at + (sign ? 1 : 0) + mark.size();
    if (end > source_.size() || source_.compare(end - mark.size(), mark.size(), mark) != 0) return 0;
    if (sign == '-') return skip_space(source_, end);
    return trim && sign != '+' && end < source_.size() && source_[end] == '\n' ? end + 1 : end;
  }

  void comment() {
    const size_t mark = source_.find("#}", at_);
    if (mark == std::string::npos) fail_at(line_, "comment: expected #}, found the end of the template");
    advance(tag_end(mark > at_ && sign_at(mark - 1) ? mark - 1 : mark, "#}", true));
  }

  // If `at` (behind "{%" and its sign) reads "raw %}" or "endraw %}": one past the tag, else 0.
  size_t raw_tag(size_t at, std::string_view word, bool trim) const {
    at = skip_space(source_, at);
    if (source_.compare(at, word.size(), word) != 0) return 0;
    return tag_end(skip_space(source_, at + word.size()), "%}", trim);
  }

  void raw(size_t body) {
    advance(body);
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; tag += 2) {
      const char sign = sign_at(tag + 2);
      const size_t after = raw_tag(tag + 2 + (sign ? 1 : 0), "endraw", true);
      if (!after) continue;
      const size_t end = stripped_end(tag, sign, false);
      if (end > at_) add(TokenType::kData, source_.substr(at_, end - at_));
      return advance(after);
    }
    fail_at(line_, "raw: expected {% endraw %}, found the end of the template");
  }

  // Tokens up to the end mark; inside brackets the mark is two closing braces.
  void code(std::string_view mark, TokenType end_type) {
    const int begin_line = line_;
    std::string open;
    while (at_ < source_.size()) {
      if (const size_t end = open.empty() ? tag_end(at_, mark, mark == "%}") : 0; end) {
        add(end_type, std::string(mark));
        return advance(end);
      }
      if (const size_t to = skip_space(source_, at_); to > at_) {
        advance(to);
        continue;
      }
      one_token(open);
    }
    fail_at(begin_line, cat("tag: expected ", mark, ", found the end of the template"));
  }

  void one_token(std::string& open) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (is_name_byte(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_byte(source_[end])) ++end;
      add(TokenType::kName, source_.substr(at_, end - at_));
      return advance(end);
    }
    if (c == '\'' || c == '"') return string(c);
    for (const std::string_view op : kOperators) {
      if (!follows(op)) continue;
      balance(open, op[0]);
      add(TokenType::kOperator, std::string(op));
      return advance(at_ + op.size());
    }
    fail_at(line_, cat("expected an expression, found the character ", c));
  }

  void balance(std::string& open, char c) const {
    static constexpr std::string_view kOpen = "([{", kClose = ")]}";
    if (const size_t i = kOpen.find(c); i != std::string_view::npos) open += kClose[i];
    if (kClose.find(c) == std::string_view::npos) return;
    if (open.empty() || open.back() != c)
      fail_at(line_,
              cat("expected ", open.empty() ? "no closing bracket" : open.substr(open.size() - 1), ", found ", c));
    open.pop_back();
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size())
      fail_at(line_, "string literal: expected its closing quote, found the end of the template");
    add(TokenType::kString, Unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), line_).run());
    advance(end + 1);
  }

  // One past the digits (with single underscores between them) at `at`.
  size_t digits_end(size_t at) const {
    while (at < source_.size() &&
           (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1]))))
      ++at;
    return at;
  }
  bool digit_at(size_t at) const { return at < source_.size() && is_digit(source_[at]); }

  void number() {
    if (source_[at_] == '0' && at_ + 1 < source_.size() &&
        std::string_view("xXoObB").find(source_[at_ + 1]) != std::string_view::npos)
      return based_number();
    size_t end = digits_end(at_);
    bool is_float = false;
    if (at_ == 0 || source_[at_ - 1] != '.') {  // in a.0.1 both are indices
      if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
        end = digits_end(end + 1);
        is_float = true;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const size_t exponent = end + 1 + (sign_at(end + 1) ? 1 : 0);
        if (digit_at(exponent)) {
          end = digits_end(exponent);
          is_float = true;
        }
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(is_float ? TokenType::kFloat : TokenType::kInteger, std::move(text));
    advance(end);
  }

  void based_number() {
    const char kind = static_cast<char>(source_[at_ + 1] | 0x20);
    size_t end = at_ + 2;
    while (end < source_.size() && is_name_byte(source_[end])) ++end;
    std::string text = source_.substr(at_ + 2, end - at_ - 2);
    std::erase(text, '_');
    uint64_t value = 0;
    const auto r = std::from_chars(text.data(), text.data() + text.size(), value,
                                   kind == 'x'   ? 16
                                   : kind == 'o' ? 8
                                                 : 2);
    if (r.ec != std::errc() || r.ptr != text.data() + text.size())
      fail_at(line_, cat("expected an integer of at most 64 bits, found ", source_.substr(at_, end - at_)));
    add(TokenType::kInteger, std::to_string(value));
    advance(end);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) {
  if (source.size() > kMaxSource)
    throw Error(cat("chat template: expected at most ", kMaxSource, " bytes, found ", source.size()));
  if (!is_valid_utf8(source)) throw Error("chat template: expected UTF-8, found other bytes");
  return Lexer(normalized(source)).run();
}

}  // namespace fathom::jinja
