// Numbers of a JSON schema within bounds: integers by comparing decimal digits from the front, numbers as an integer
// part and a fraction.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "base/error.h"
#include "sampling/grammar/schema_compiler.h"

namespace fathom {
namespace {

constexpr uint32_t kUnlimited = GrammarBuilder::kUnlimited;
constexpr int64_t kLargest = 1'000'000'000'000'000'000;  // of integer bounds: 10^18
constexpr int64_t kMostMultiples = 10000, kMostModulus = 1000;

// A bound as decimal digits: whole.fraction, without zeros at the fraction's end.
struct Bound {
  bool negative = false, exclusive = false;
  int64_t whole = 0;
  std::string fraction;

  bool zero() const { return whole == 0 && fraction.empty(); }
};

class NumberRange {
 public:
  explicit NumberRange(GrammarBuilder& b) : b_(b), digit_(b.chars({{'0', '9'}})) {}

  /// min..max, both included; max < 0: no upper bound.
  ExprId natural(int64_t min, int64_t max) {
    std::vector<ExprId> ways;
    const std::string from = std::to_string(min);
    if (max < 0) {  // as long as min and not below it, or longer
      ways.push_back(same_length(from, std::string(from.size(), '9')));
      ways.push_back(b_.sequence({digits('1', '9'), any(static_cast<uint32_t>(from.size()), kUnlimited)}));
      return b_.choice(std::move(ways));
    }
    const std::string to = std::to_string(max);
    for (size_t size = from.size(); size <= to.size() && min <= max; ++size)
      ways.push_back(same_length(size == from.size() ? from : "1" + std::string(size - 1, '0'),
                                 size == to.size() ? to : std::string(size, '9')));
    return b_.choice(std::move(ways));
  }

  ExprId integer(std::optional<int64_t> min, std::optional<int64_t> max) {
    std::vector<ExprId> ways;
    if (!max || *max >= 0) ways.push_back(natural(std::max<int64_t>(min.value_or(0), 0), max.value_or(-1)));
    if (!min || *min < 0) {
      const int64_t least = max && *max < 0 ? -*max : 1;
      ways.push_back(b_.sequence({b_.literal("-"), natural(least, min ? -*min : -1)}));
    }
    return b_.choice(std::move(ways));
  }

  /// Decimals from min (none: 0) to max (none: no bound), signs aside.
  ExprId decimal(const Bound& min, const std::optional<Bound>& max) {
    std::vector<ExprId> ways;
    const auto add = [&](ExprId whole, const std::string* low, bool low_exclusive, const std::string* high,
                         bool high_exclusive) {
      ways.push_back(b_.sequence({whole, fraction(low, low_exclusive, high, high_exclusive)}));
    };
    const std::string* no = nullptr;
    if (max && max->whole == min.whole) {
      add(natural(min.whole, min.whole), &min.fraction, min.exclusive, &max->fraction, max->exclusive);
      return b_.choice(std::move(ways));
    }
    if (max && max->whole < min.whole) return b_.choice({});
    add(natural(min.whole, min.whole), &min.fraction, min.exclusive, no, false);
    if (!max) {
      add(natural(min.whole + 1, -1), no, false, no, false);
    } else {
      add(natural(max->whole, max->whole), no, false, &max->fraction, max->exclusive);
      if (min.whole + 1 < max->whole) add(natural(min.whole + 1, max->whole - 1), no, false, no, false);
    }
    return b_.choice(std::move(ways));
  }

  /// Integers that `modulus` divides: one state per remainder.
  ExprId multiples(uint32_t modulus) {
    GrammarBuilder::Graph graph;
    const uint32_t start = 0, signed_start = 1, remainder = 2;
    graph.states = remainder + modulus;
    graph.add(start, signed_start, b_.literal("-"));
    graph.add(start, signed_start);
    for (uint32_t d = 0; d < 10; ++d) {
      const ExprId one = digits(static_cast<char>('0' + d), static_cast<char>('0' + d));
      if (d > 0) graph.add(signed_start, remainder + d % modulus, one);
      for (uint32_t r = 0; r < modulus; ++r) graph.add(remainder + r, remainder + (10 * r + d) % modulus, one);
    }
    graph.accepting = {remainder};
    return b_.choice({b_.literal("0"), b_.graph(std::move(graph))});
  }

 private:
  ExprId digits(char lo, char hi) { return b_.chars({{static_cast<char32_t>(lo), static_cast<char32_t>(hi)}}); }
  ExprId any(uint32_t min, uint32_t max) { return b_.repeat(digit_, min, max); }

  // Digits of one length between two such texts.
  ExprId same_length(std::string_view lo, std::string_view hi) {
    const auto rest = static_cast<uint32_t>(lo.size() - 1);
    if (lo.empty()) return b_.literal("");
    if (lo.find_first_not_of('0') == std::string_view::npos && hi.find_first_not_of('9') == std::string_view::npos)
      return any(rest + 1, rest + 1);
    if (lo[0] == hi[0]) return b_.sequence({digits(lo[0], lo[0]), same_length(lo.substr(1), hi.substr(1))});
    std::vector<ExprId> ways;
    const std::string nines(rest, '9'), zeros(rest, '0');
    ways.push_back(b_.sequence({digits(lo[0], lo[0]), same_length(lo.substr(1), nines)}));
    if (lo[0] + 1 < hi[0])
      ways.push_back(
          b_.sequence({digits(static_cast<char>(lo[0] + 1), static_cast<char>(hi[0] - 1)), any(rest, rest)}));
    ways.push_back(b_.sequence({digits(hi[0], hi[0]), same_length(zeros, hi.substr(1))}));
    return b_.choice(std::move(ways));
  }

  // "" or a point and digits, not below 0.low and not above 0.high (null: no bound). A state is how much of each bound
  // the digits so far equal; kFree: they have left it on the right side. Beyond a bound's last digit come zeros.
  ExprId fraction(const std::string* low, bool low_exclusive, const std::string* high, bool high_exclusive) {
    constexpr size_t kFree = SIZE_MAX;
    using State = std::pair<size_t, size_t>;
    GrammarBuilder::Graph graph;
    std::map<State, uint32_t> numbers;
    std::vector<State> todo;
    const auto number_of = [&](State state) {
      const auto [at, added] = numbers.try_emplace(state, graph.states);
      if (added) graph.add_state(), todo.push_back(state);
      return at->second;
    };
    const auto may_end = [&](const State& s) {
      const bool low_ok = s.first == kFree || (s.first == low->size() && !low_exclusive);
      const bool high_ok = s.second == kFree || s.second < high->size() || !high_exclusive;
      return low_ok && high_ok;
    };
    const State begin{low ? 0 : kFree, high ? 0 : kFree};
    const uint32_t dot = graph.add_state();  // state 0 is before the point
    graph.add(0, dot, b_.literal("."));
    if (may_end(begin)) graph.accepting.push_back(0);
    const auto add_digits = [&](uint32_t from, const State& s) {
      for (char d = '0'; d <= '9'; ++d) {
        State to = s;
        if (low && s.first != kFree) {
          const char at = s.first < low->size() ? (*low)[s.first] : '0';
          if (d < at) continue;
          to.first = d > at ? kFree : std::min(s.first + 1, low->size());
        }
        if (high && s.second != kFree) {
          const char at = s.second < high->size() ? (*high)[s.second] : '0';
          if (d > at) continue;
          to.second = d < at ? kFree : std::min(s.second + 1, high->size());
        }
        graph.add(from, number_of(to), digits(d, d));
      }
    };
    add_digits(dot, begin);
    while (!todo.empty()) {
      const State state = todo.back();
      todo.pop_back();
      if (may_end(state)) graph.accepting.push_back(numbers.at(state));
      add_digits(numbers.at(state), state);
    }
    return b_.graph(std::move(graph));
  }

  GrammarBuilder& b_;
  ExprId digit_;
};

// The tightest of an inclusive and an exclusive bound; nullopt: none.
std::optional<json::value> bound_of(const json::object& o, bool lower, bool& exclusive, const std::string& where) {
  std::optional<json::value> bound;
  exclusive = false;
  for (const bool strict : {false, true}) {
    const std::string_view key =
        strict ? (lower ? "exclusiveMinimum" : "exclusiveMaximum") : (lower ? "minimum" : "maximum");
    const json::value* value = o.if_contains(key);
    if (!value) continue;
    if (!value->is_number()) wrong_schema(pointer_to(where, key), "a number", to_json(*value).substr(0, 100));
    const auto number = value->to_number<double>();
    if (bound) {
      const auto before = bound->to_number<double>();
      if (lower ? number < before : number > before) continue;
    }
    bound = *value;
    exclusive = strict;
  }
  return bound;
}

Bound decimal_bound(const json::value& value, bool exclusive, const std::string& where) {
  const auto number = value.to_number<double>();
  if (!(std::abs(number) < 1e15)) wrong_schema(where, "bounds of numbers below 1e15", to_json(value));
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, std::abs(number), std::chars_format::fixed);
  const std::string_view digits(text, error == std::errc() ? static_cast<size_t>(end - text) : 0);
  const size_t dot = std::min(digits.find('.'), digits.size());
  Bound bound{number < 0, exclusive, 0, std::string(digits.substr(std::min(dot + 1, digits.size())))};
  if (digits.empty() || bound.fraction.size() > 15)
    wrong_schema(where, "bounds of numbers with at most 15 digits behind the point", to_json(value));
  std::from_chars(digits.data(), digits.data() + dot, bound.whole);
  return bound;
}

std::optional<int64_t> integer_bound(const std::optional<json::value>& value, bool lower, bool exclusive,
                                     const std::string& where) {
  if (!value) return std::nullopt;
  const auto number = value->to_number<double>();
  if (!(std::abs(number) <= static_cast<double>(kLargest)))
    wrong_schema(where, cat("bounds of integers between -", kLargest, " and ", kLargest), to_json(*value));
  if (!value->is_double() || number == std::trunc(number)) {
    const auto whole = value->is_double() ? static_cast<int64_t>(number) : value->to_number<int64_t>();
    return exclusive ? (lower ? whole + 1 : whole - 1) : whole;
  }
  return static_cast<int64_t>(lower ? std::ceil(number) : std::floor(number));
}

}  // namespace

ExprId SchemaCompiler::number(const json::object& o, const std::string& where, bool integer) {
  bool min_exclusive = false, max_exclusive = false;
  const std::optional<json::value> min = bound_of(o, true, min_exclusive, where);
  const std::optional<json::value> max = bound_of(o, false, max_exclusive, where);
  NumberRange range(b_);
  uint32_t modulus = 1;
  if (const json::value* multiple = o.if_contains("multipleOf")) {
    const std::string there = pointer_to(where, "multipleOf");
    const double step = multiple->is_number() ? multiple->to_number<double>() : 0;
    if (!(step > 0)) wrong_schema(there, "a positive number", to_json(*multiple).substr(0, 100));
    if (step == std::trunc(step) && step <= 1e9) {
      modulus = static_cast<uint32_t>(step);
      integer = true;
    } else if (!integer && !min && !max) {
      for (uint32_t places = 1; places <= 15; ++places)
        if (step == std::strtod(cat("1e-", places).c_str(), nullptr)) {
          const ExprId digits = b_.repeat(b_.chars({{'0', '9'}}), 1, places);
          return b_.sequence({json_.integer(), b_.optional(b_.sequence({b_.literal("."), digits}))});
        }
      wrong_schema(there, "a whole number, or a power of ten from 0.1 to 1e-15", to_json(*multiple));
    } else {
      wrong_schema(there, "a whole number where the type is integer or there are bounds", to_json(*multiple));
    }
  }
  if (integer) {
    const std::optional<int64_t> from = integer_bound(min, true, min_exclusive, where);
    const std::optional<int64_t> to = integer_bound(max, false, max_exclusive, where);
    if (from && to && *from > *to) return b_.choice({});
    if (modulus == 1) return from || to ? range.integer(from, to) : json_.integer();
    if (!from && !to && modulus <= kMostModulus) return range.multiples(modulus);
    if (!from || !to || (*to - *from) / modulus > kMostMultiples)
      wrong_schema(where,
                   cat("multipleOf of at most ", kMostModulus, " without bounds, or at most ", kMostMultiples,
                       " multiples between two bounds"),
                   "more");
    std::vector<ExprId> ways;
    const int64_t first = *from + ((modulus - *from % modulus) % modulus);
    for (int64_t value = first; value <= *to; value += modulus) ways.push_back(b_.literal(std::to_string(value)));
    return b_.choice(std::move(ways));
  }
  if (!min && !max) return json_.number();
  std::optional<Bound> low, high;
  if (min) low = decimal_bound(*min, min_exclusive, where);
  if (max) high = decimal_bound(*max, max_exclusive, where);
  std::vector<ExprId> ways;
  // x >= 0, and -x for x < 0, whose bounds change places. Zero as a bound of one side belongs to the other as well.
  const Bound zero;
  if (!high || !high->negative) ways.push_back(range.decimal(low && !low->negative ? *low : zero, high));
  const bool below_zero = high && (high->negative || (high->zero() && high->exclusive));
  if (!low || low->negative || (low->zero() && !low->exclusive))
    ways.push_back(b_.sequence({b_.literal("-"), range.decimal(below_zero ? *high : zero, low)}));
  return b_.choice(std::move(ways));
}

}  // namespace fathom
