// Operators, comparisons, indexing and slicing, as Python has them.
#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

[[noreturn]] void unsupported(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) throw Error(a.undefined_message());
  if (b.is_undefined()) throw Error(b.undefined_message());
  throw Error(cat("operator ", op, ": expected operands that fit, found ", a.type_name(), " and ", b.type_name()));
}

[[noreturn]] void too_large() { throw Error("expected an integer of at most 128 bits, found a larger one"); }

// base/checked.h knows standard integers only.
Int add(Int a, Int b) {
  Int out;
  if (__builtin_add_overflow(a, b, &out)) too_large();
  return out;
}
Int subtract(Int a, Int b) {
  Int out;
  if (__builtin_sub_overflow(a, b, &out)) too_large();
  return out;
}
Int multiply(Int a, Int b) {
  Int out;
  if (__builtin_mul_overflow(a, b, &out)) too_large();
  return out;
}

Int floor_div(Int a, Int b) {
  const Int q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

Int int_power(Int base, Int exponent) {
  Int out = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) out = multiply(out, base);
    if (exponent > 1) base = multiply(base, base);
  }
  return out;
}

double python_mod(double a, double b) {
  const double m = std::fmod(a, b);
  if (m == 0) return std::copysign(0.0, b);
  return (m < 0) != (b < 0) ? m + b : m;
}

Value int_arithmetic(const std::string& op, Int a, Int b, bool trusted) {
  if (op == "+") return Value::integer(add(a, b), trusted);
  if (op == "*") return Value::integer(multiply(a, b), trusted);
  if (op == "-") return Value::integer(subtract(a, b), trusted);
  if (op == "**") {
    if (b < 0) return Value::number(std::pow(static_cast<double>(a), static_cast<double>(b)), trusted);
    return Value::integer(int_power(a, b), trusted);
  }
  if (b == 0) throw Error(cat("operator ", op, ": expected a divisor other than zero, found 0"));
  if (op == "/") return Value::number(static_cast<double>(a) / static_cast<double>(b), trusted);
  if (b == -1) return op == "%" ? Value::integer(0, trusted) : int_arithmetic("-", 0, a, trusted);
  return Value::integer(op == "//" ? floor_div(a, b) : a - floor_div(a, b) * b, trusted);
}

Value float_arithmetic(const std::string& op, double a, double b, bool trusted) {
  if (op == "+") return Value::number(a + b, trusted);
  if (op == "-") return Value::number(a - b, trusted);
  if (op == "*") return Value::number(a * b, trusted);
  if (op == "**") return Value::number(std::pow(a, b), trusted);
  if (b == 0) throw Error(cat("operator ", op, ": expected a divisor other than zero, found 0"));
  if (op == "/") return Value::number(a / b, trusted);
  return Value::number(op == "//" ? std::floor((a - python_mod(a, b)) / b + 0.5) : python_mod(a, b), trusted);
}

Value repeat(const Value& sequence, Int count, Budget& budget) {
  const uint64_t times = count < 0 ? 0 : count > (Int{1} << 40) ? uint64_t{1} << 40 : static_cast<uint64_t>(count);
  if (const Text* text = sequence.if_text()) {
    budget.bytes(checked_mul<uint64_t>(text->size(), times).value_or(UINT64_MAX));
    budget.step(text->empty() ? 0 : times);
    Text out;
    if (!text->empty())
      for (uint64_t i = 0; i < times; ++i) out.append(*text);
    return Value::text(std::move(out));
  }
  const List& list = *sequence.if_list();
  budget.bytes(checked_mul<uint64_t>(list.items.size() * sizeof(Value), times).value_or(UINT64_MAX));
  List out{.kind = list.kind};
  if (!list.items.empty())
    for (uint64_t i = 0; i < times; ++i) out.items.insert(out.items.end(), list.items.begin(), list.items.end());
  return Value::list(std::move(out));
}

bool can_repeat(const Value& x) { return x.if_text() || (x.if_list() && x.if_list()->kind < ListKind::kView); }

Value added(const Value& left, const Value& right, Budget& budget) {
  if (left.if_text() && right.if_text()) {
    budget.bytes(left.if_text()->size() + right.if_text()->size());
    Text out = *left.if_text();
    out.append(*right.if_text());
    return Value::text(std::move(out));
  }
  const List *a = left.if_list(), *b = right.if_list();
  if (!a || !b || a->kind != b->kind || a->kind >= ListKind::kView) unsupported("+", left, right);
  budget.bytes((a->items.size() + b->items.size()) * sizeof(Value));
  List out{.items = a->items, .kind = a->kind};
  out.items.insert(out.items.end(), b->items.begin(), b->items.end());
  return Value::list(std::move(out));
}

}  // namespace

Value binary(const std::string& op, const Value& left, const Value& right, Budget& budget) {
  if (left.is_number() && right.is_number()) {
    const bool trusted = left.trusted() && right.trusted();
    const std::optional<Int> a = left.as_int(), b = right.as_int();
    return a && b ? int_arithmetic(op, *a, *b, trusted)
                  : float_arithmetic(op, *left.as_double(), *right.as_double(), trusted);
  }
  if (op == "+") return added(left, right, budget);
  if (op == "%" && left.if_text() && !right.is_undefined())
    return Value::text(percent_format(*left.if_text(), right, budget));
  if (op == "*") {
    if (can_repeat(left) && right.as_int()) return repeat(left, *right.as_int(), budget);
    if (can_repeat(right) && left.as_int()) return repeat(right, *left.as_int(), budget);
  }
  unsupported(op, left, right);
}

Value negated(const Value& value) {
  if (const std::optional<Int> i = value.as_int()) return int_arithmetic("-", 0, *i, value.trusted());
  if (const double* d = value.if_double()) return Value::number(-*d, value.trusted());
  if (value.is_undefined()) throw Error(value.undefined_message());
  throw Error(cat("expected a number behind -, found ", value.type_name()));
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (const Text* text = container.if_text()) {
    if (item.is_undefined()) throw Error(item.undefined_message());
    if (!item.if_text()) throw Error(cat("in: expected a string to look for in a string, found ", item.type_name()));
    budget.step(text->size() / 16);
    return text->bytes().find(item.if_text()->bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.if_dict()) {
    const bool hashable_but_never_a_key = item.is_undefined() || item.if_callable() || item.if_space();
    return !hashable_but_never_a_key && dict->find(item) != nullptr;
  }
  for (const Value& element : iterate(container, budget))
    if (equals(element, item, budget)) return true;
  return false;
}

bool compare(const std::string& op, const Value& left, const Value& right, Budget& budget) {
  if (op == "==") return equals(left, right, budget);
  if (op == "!=") return !equals(left, right, budget);
  if (op == "in") return contains(right, left, budget);
  if (op == "not in") return !contains(right, left, budget);
  if (op == "<") return less(left, right, budget);
  if (op == ">") return less(right, left, budget);
  // NaN is neither less nor equal.
  const bool equal = left.is_number() && right.is_number() && equals(left, right, budget);
  if (left.is_number() && right.is_number())
    return equal || less(op == "<=" ? left : right, op == "<=" ? right : left, budget);
  return op == "<=" ? !less(right, left, budget) : !less(left, right, budget);
}

namespace {
// Python's clamping of one bound of a slice to [low, high].
Int clamp_bound(const Value& bound, Int fallback, Int length, Int low, Int high) {
  if (bound.is_undefined() || bound.is_none()) return fallback;
  const std::optional<Int> i = bound.as_int();
  if (!i) throw Error(cat("slice: expected integer bounds, found ", bound.type_name()));
  const Int at = *i < 0 ? (*i < -length - 1 ? low : *i + length) : *i;
  return std::clamp(at, low, high);
}
}  // namespace

Value slice(const Value& sequence, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  const Text* text = sequence.if_text();
  const List* list = sequence.if_list();
  if (sequence.is_undefined()) throw Error(sequence.undefined_message());
  if (!text && (!list || list->kind >= ListKind::kView))
    throw Error(cat("slice: expected a string or a list, found ", sequence.type_name()));
  if (text) budget.bytes(text->size());
  const Int length = static_cast<Int>(text ? code_point_count(text->bytes()) : list->items.size());
  const Int by = step.is_undefined() || step.is_none() ? 1 : step.as_int().value_or(0);
  if (by == 0) throw Error("slice: expected a step that is an integer other than zero");
  const Int low = by > 0 ? 0 : -1, high = by > 0 ? length : length - 1;
  const Int begin = clamp_bound(start, by > 0 ? low : high, length, low, high);
  const Int end = clamp_bound(stop, by > 0 ? high : low, length, low, high);

  std::vector<size_t> offsets;  // of each code point, and of the end
  if (text) {
    budget.bytes(static_cast<uint64_t>(length) * sizeof(size_t));
    for (size_t i = 0; i < text->size(); i += code_point_at(text->bytes(), i).size) offsets.push_back(i);
    offsets.push_back(text->size());
    if (by == 1)
      return Value::text(
          text->slice(offsets[static_cast<size_t>(begin)], offsets[static_cast<size_t>(std::max(begin, end))]));
  }
  Text text_out;
  List list_out{.kind = list ? list->kind : ListKind::kList};
  for (Int i = begin; by > 0 ? i < end : i > end; i += by) {
    budget.step();
    const auto at = static_cast<size_t>(i);
    if (text)
      text_out.append(*text, offsets[at], offsets[at + 1]);
    else
      list_out.items.push_back(list->items[at]);
    if (by > length || by < -length) break;  // the next index would be outside, and might not be an integer
  }
  if (text) return Value::text(std::move(text_out));
  budget.bytes(list_out.items.size() * sizeof(Value));
  return Value::list(std::move(list_out));
}

Value element(const Value& sequence, Int index) {
  if (const List* list = sequence.if_list(); list && list->kind < ListKind::kView) {
    const Int length = static_cast<Int>(list->items.size());
    if (index < 0) index += length;
    if (index >= 0 && index < length) return list->items[static_cast<size_t>(index)];
  } else if (const Text* text = sequence.if_text()) {
    const Int length = static_cast<Int>(code_point_count(text->bytes()));
    if (index < 0) index += length;
    if (index >= 0 && index < length) {
      size_t at = 0;
      for (Int i = 0; i < index; ++i) at += code_point_at(text->bytes(), at).size;
      return Value::text(text->slice(at, at + code_point_at(text->bytes(), at).size));
    }
  }
  return Value::undefined(cat("'", sequence.type_name(), " object' has no element ", to_string(index)));
}

}  // namespace fathom::jinja
