// The tests behind "is".
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

bool is_sequence(const Value& v) {
  return v.is_undefined() || v.if_text() || v.if_dict() || (v.if_list() && v.if_list()->kind < ListKind::kView);
}
bool is_iterable(const Value& v) {
  return v.is_undefined() || v.if_text() || v.if_dict() || v.if_list() || v.if_loop();
}
bool is_callable(const Value& v) { return v.is_undefined() || v.if_callable() || v.if_loop(); }

template <auto kIs>
bool plain(Interpreter&, const Value& value, Args&) {
  return kIs(value);
}

bool string_is(Interpreter& in, const Value& value, const std::string& method) {
  Args none;
  return call_string_method(in, in.str(value), method, none).truthy();
}

Int integer(const Value& value) {
  if (value.is_undefined()) throw Error(value.undefined_message());
  const std::optional<Int> i = value.as_int();
  if (!i) throw Error(cat("expected an integer, found ", value.type_name()));
  return *i;
}

bool divisible(Interpreter&, const Value& value, Args& args) {
  const Int by = args.next_int("num", 0);
  if (by == 0) throw Error("divisibleby: expected a divisor other than zero");
  return by == -1 || integer(value) % by == 0;
}

bool same_as(Interpreter& in, const Value& value, Args& args) {
  const Value other = args.required("other");
  if (value.if_bool() || other.if_bool())
    return value.if_bool() && other.if_bool() && *value.if_bool() == *other.if_bool();
  if (value.is_none() || other.is_none()) return value.is_none() && other.is_none();
  if (value.if_text() || (value.if_int() && other.if_int())) return equals(value, other, in.budget());
  return value.same_object(other);
}

template <const char* kOp>
bool compared(Interpreter& in, const Value& value, Args& args) {
  return compare(kOp, value, args.required("other"), in.budget());
}
constexpr char kEq[] = "==", kNe[] = "!=", kLt[] = "<", kLe[] = "<=", kGt[] = ">", kGe[] = ">=", kIn[] = "in";

}  // namespace

Test find_test(std::string_view name) {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"defined", plain<[](const Value& v) { return !v.is_undefined(); }>},
      {"undefined", plain<[](const Value& v) { return v.is_undefined(); }>},
      {"none", plain<[](const Value& v) { return v.is_none(); }>},
      {"boolean", plain<[](const Value& v) { return v.if_bool() != nullptr; }>},
      {"true", plain<[](const Value& v) { return v.if_bool() && *v.if_bool(); }>},
      {"false", plain<[](const Value& v) { return v.if_bool() && !*v.if_bool(); }>},
      {"integer", plain<[](const Value& v) { return v.if_int() != nullptr; }>},
      {"float", plain<[](const Value& v) { return v.if_double() != nullptr; }>},
      {"number", plain<[](const Value& v) { return v.is_number(); }>},
      {"string", plain<[](const Value& v) { return v.if_text() != nullptr; }>},
      {"mapping", plain<[](const Value& v) { return v.if_dict() != nullptr; }>},
      {"sequence", plain<is_sequence>},
      {"iterable", plain<is_iterable>},
      {"callable", plain<is_callable>},
      {"escaped", plain<[](const Value&) { return false; }>},
      {"odd", plain<[](const Value& v) { return integer(v) % 2 != 0; }>},
      {"even", plain<[](const Value& v) { return integer(v) % 2 == 0; }>},
      {"lower", [](Interpreter& in, const Value& v, Args&) { return string_is(in, v, "islower"); }},
      {"upper", [](Interpreter& in, const Value& v, Args&) { return string_is(in, v, "isupper"); }},
      {"divisibleby", divisible},
      {"sameas", same_as},
      {"filter",
       [](Interpreter& in, const Value& v, Args&) {
         const std::string n = in.str(v).bytes();
         return find_filter(n) || find_sequence_filter(n);
       }},
      {"test", [](Interpreter& in, const Value& v, Args&) { return find_test(in.str(v).bytes()) != nullptr; }},
      {"in", compared<kIn>},
      {"eq", compared<kEq>},
      {"==", compared<kEq>},
      {"equalto", compared<kEq>},
      {"ne", compared<kNe>},
      {"!=", compared<kNe>},
      {"lt", compared<kLt>},
      {"<", compared<kLt>},
      {"lessthan", compared<kLt>},
      {"le", compared<kLe>},
      {"<=", compared<kLe>},
      {"gt", compared<kGt>},
      {">", compared<kGt>},
      {"greaterthan", compared<kGt>},
      {"ge", compared<kGe>},
      {">=", compared<kGe>}};
  const auto it = kTests.find(name);
  return it == kTests.end() ? nullptr : it->second;
}

}  // namespace fathom::jinja
