#include "tasks/countdown.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "base/error.h"
#include "base/trimmed.h"
#include "tasks/draw.h"

namespace fathom {
namespace {

constexpr size_t kLongest = 1000;  // characters of an expression; also bounds the depth of the recursion
constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";

std::optional<Rational> rational(std::optional<int64_t> n, std::optional<int64_t> d) {
  if (!n || !d || *d == 0 || *n == INT64_MIN || *d == INT64_MIN) return std::nullopt;
  const int64_t divisor = std::gcd(*n, *d) * (*d < 0 ? -1 : 1);
  return Rational{*n / divisor, *d / divisor};
}

std::optional<Rational> apply(char op, const Rational& a, const Rational& b) {
  if (op == '*') return rational(checked_mul(a.numerator, b.numerator), checked_mul(a.denominator, b.denominator));
  if (op == '/') return rational(checked_mul(a.numerator, b.denominator), checked_mul(a.denominator, b.numerator));
  const std::optional<int64_t> left = checked_mul(a.numerator, b.denominator);
  const std::optional<int64_t> right = checked_mul(op == '-' ? -b.numerator : b.numerator, a.denominator);
  if (!left || !right) return std::nullopt;
  return rational(checked_add(*left, *right), checked_mul(a.denominator, b.denominator));
}

/// sum = product {(+|-) product}; product = atom {(*|/) atom}; atom = number | ( sum ).
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}
  std::optional<Arithmetic> run() {
    const std::optional<Rational> value = sum();
    if (!value || next() != '\0') return std::nullopt;
    return Arithmetic{*value, std::move(numbers_)};
  }

 private:
  /// The next character that is no space; '\0' at the end.
  char next() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  std::optional<Rational> chain(std::string_view ops, std::optional<Rational> (Parser::*operand)()) {
    std::optional<Rational> value = (this->*operand)();
    for (char op = next(); value && op != '\0' && ops.find(op) != std::string_view::npos; op = next()) {
      ++at_;
      const std::optional<Rational> right = (this->*operand)();
      value = right ? apply(op, *value, *right) : std::nullopt;
    }
    return value;
  }
  std::optional<Rational> sum() { return chain("+-", &Parser::product); }
  std::optional<Rational> product() { return chain("*/", &Parser::atom); }
  std::optional<Rational> atom() {
    if (next() != '(') return number();
    ++at_;
    const std::optional<Rational> value = sum();
    if (!value || next() != ')') return std::nullopt;
    ++at_;
    return value;
  }
  std::optional<Rational> number() {
    const size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
    const std::string_view digits = text_.substr(at_, end - at_);
    if (digits.empty() || digits.size() > 9 || (digits[0] == '0' && digits.size() > 1)) return std::nullopt;
    int64_t value = 0;
    for (const char c : digits) value = value * 10 + (c - '0');
    numbers_.push_back(value);
    at_ = end;
    return Rational{value, 1};
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<int64_t> numbers_;
};

/// What stands in the last answer of the last line that is not blank.
std::optional<std::string_view> last_answer(std::string_view completion) {
  std::string_view line = trimmed(completion);
  line.remove_prefix(line.rfind('\n') + 1);  // npos + 1 = 0
  const size_t close = line.rfind(kClose);
  if (close == std::string_view::npos) return std::nullopt;
  const size_t open = line.substr(0, close).rfind(kOpen);
  if (open == std::string_view::npos) return std::nullopt;
  return line.substr(open + kOpen.size(), close - open - kOpen.size());
}

std::vector<int64_t> sorted(std::vector<int64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// Joins random pairs with random operations until one expression is left: every target can be reached so.
std::string random_expression(Draw& draw, std::vector<std::string> terms) {
  while (terms.size() > 1) {
    const auto take = [&] {
      const auto at = terms.begin() + draw.integer(0, static_cast<int>(terms.size()) - 1);
      std::string term = std::move(*at);
      terms.erase(at);
      return term;
    };
    const std::string left = take(), right = take();
    const char op = "+-*/"[draw.integer(0, 3)];
    terms.push_back(cat(terms.empty() ? "" : "(", left, op, right, terms.empty() ? "" : ")"));
  }
  return terms[0];
}

}  // namespace

std::optional<Arithmetic> evaluate_arithmetic(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  return Parser(text).run();
}

Example CountdownTask::example(Split split, uint64_t seed, uint64_t index) const {
  Draw draw(seed, index);
  for (;;) {
    std::vector<int64_t> numbers(static_cast<size_t>(draw.integer(3, 4)));
    std::vector<std::string> terms;
    for (int64_t& n : numbers) n = draw.integer(1, 99), terms.push_back(cat(n));
    const std::string expression = random_expression(draw, std::move(terms));
    const std::optional<Arithmetic> result = evaluate_arithmetic(expression);
    if (!result || result->value.denominator != 1) continue;
    const int64_t target = result->value.numerator;
    if (target < 1 || target > 999) continue;
    std::string key = cat("countdown ", target, " from");
    for (const int64_t n : sorted(numbers)) key += cat(' ', n);
    if (split_of(key, 10) != split) continue;
    std::string list;
    for (const int64_t n : numbers) list += cat(list.empty() ? "" : ", ", n);
    return {key,
            cat("Make ", target, " from the numbers ", list,
                ". Use each number exactly once, with +, -, *, / and parentheses. Think first; end with a line "
                "that holds the expression alone, as <answer>(1+2)*3</answer>.\n"),
            cat(kOpen, expression, kClose)};
  }
}

Reward CountdownTask::reward(const Example& example, std::string_view completion) const {
  // The reference answer holds the given numbers and has the target as its value.
  const std::optional<std::string_view> reference = last_answer(example.answer);
  const std::optional<Arithmetic> wanted = reference ? evaluate_arithmetic(*reference) : std::nullopt;
  if (!wanted)
    throw Error(cat("countdown: example ", example.id, ": expected an answer with an expression, found '",
                    example.answer, "'"));
  const std::optional<std::string_view> answer = last_answer(completion);
  if (!answer) return {0, {{"format", 0}, {"correct", 0}}};
  const std::optional<Arithmetic> got = evaluate_arithmetic(*answer);
  const bool right = got && got->value == wanted->value && sorted(got->numbers) == sorted(wanted->numbers);
  return {right ? 1 : 0.1, {{"format", 1}, {"correct", right ? 1 : 0}}};
}

}  // namespace fathom
