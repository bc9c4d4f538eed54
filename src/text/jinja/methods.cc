// Methods of dicts, lists and loops, and the global functions.
#include <algorithm>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

constexpr Int kMaxRange = 100'000;  // Jinja2's sandbox has the same

Value view(std::string label, std::vector<Value> items) {
  return Value::list({.items = std::move(items), .kind = ListKind::kView, .label = std::move(label)});
}

Value pair(const Value& a, const Value& b) { return Value::list({.items = {a, b}, .kind = ListKind::kTuple}); }

Value call_dict_method(Interpreter& in, const Dict& self, const std::string& name, Args& args) {
  std::vector<Value> items;
  if (name == "get") {
    const Value key = args.required("key");
    const Value fallback = args.next_or("default", Value::none());
    args.done();
    const Value* value = self.find(key);
    return value ? *value : fallback;
  }
  args.done();
  in.budget().bytes(self.entries().size() * 3 * sizeof(Value));
  for (const auto& [key, value] : self.entries())
    items.push_back(name == "keys" ? key : name == "values" ? value : pair(key, value));
  if (name == "copy") {
    Dict copy = self;
    return Value::dict(std::move(copy));
  }
  return view("dict_" + name, std::move(items));
}

Value call_list_method(Interpreter& in, const List& self, const std::string& name, Args& args) {
  if (name == "copy") {
    args.done();
    List copy{.items = self.items};
    return Value::list(std::move(copy));
  }
  const Value wanted = args.required("value");
  args.done();
  Int count = 0;
  for (size_t i = 0; i < self.items.size(); ++i) {
    if (!equals(self.items[i], wanted, in.budget())) continue;
    if (name == "index") return Value::integer(static_cast<Int>(i));
    ++count;
  }
  if (name == "index") throw Error("index: expected a value that is in the list, found another");
  return Value::integer(count);
}

Value call_loop_method(Interpreter& in, Loop& self, const std::string& name, Args& args) {
  const std::vector<Value> given = args.rest();
  args.done();
  if (name == "cycle") {
    if (given.empty()) throw Error("loop.cycle: expected arguments, found none");
    return given[self.index0 % given.size()];
  }
  std::string now;
  for (const Value& value : given) now += repr(value, in.budget()).bytes() + ",";
  const bool changed = self.changed != now;
  self.changed = std::move(now);
  return Value::boolean(changed);
}

Value make_range(Interpreter& in, Args& args) {
  Int start = 0, stop = args.next_int("stop", 0), step = 1;
  if (const Value* second = args.next("stop2")) {
    start = stop;
    if (!second->as_int()) throw Error(cat("range: expected integers, found ", second->type_name()));
    stop = *second->as_int();
    step = args.next_int("step", 1);
  }
  args.done();
  if (step == 0) throw Error("range: expected a step other than zero, found 0");
  constexpr Int kHuge = Int{1} << 100;
  if (start > kHuge || start < -kHuge || stop > kHuge || stop < -kHuge || step > kHuge || step < -kHuge)
    throw Error("range: expected smaller integers");
  const Int count = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
  if (count > kMaxRange)
    throw ResourceError(cat("range: expected at most ", to_string(kMaxRange), " elements, found ", to_string(count)));
  List out;
  if (count > 0) in.budget().bytes(static_cast<uint64_t>(count) * sizeof(Value));
  for (Int i = 0; i < count; ++i) out.items.push_back(Value::integer(start + i * step));
  return Value::list(std::move(out));
}

// The entries of dict(...) and namespace(...): a mapping, then named arguments.
std::vector<std::pair<std::string, Value>> named_entries(Args& args) {
  std::vector<std::pair<std::string, Value>> out;
  for (const Value& map : args.rest()) {
    if (!map.if_dict()) throw Error(cat("expected a dict, found ", map.type_name()));
    for (const auto& [key, value] : map.if_dict()->entries())
      if (key.if_text()) out.emplace_back(key.if_text()->bytes(), value);
  }
  for (const auto& [name, value] : args.named) out.emplace_back(name, value);
  return out;
}

std::string formatted_time(const std::string& format, const std::tm& time) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    std::string spec = "%";
    if (format[i + 1] == '-' && i + 2 < format.size()) spec += format[++i];
    const char letter = format[++i];
    if (letter == '%') {
      out += '%';
      continue;
    }
    if (letter == 'f') {
      out += "000000";
      continue;
    }
    if (std::string_view("aAwdbBmyYHIMSpzZjUWcxXGuVeFTDRhnt").find(letter) == std::string_view::npos)
      throw Error(cat("strftime_now: expected a known format letter, found ", letter));
    spec += letter;
    char buffer[128];
    out.append(buffer, std::strftime(buffer, sizeof buffer, spec.c_str(), &time));
  }
  return out;
}

}  // namespace

bool has_global(std::string_view name) {
  return name == "range" || name == "namespace" || name == "dict" || name == "raise_exception" ||
         name == "strftime_now";
}

Value call_global(Interpreter& in, const std::string& name, Args& args) {
  if (name == "range") return make_range(in, args);
  if (name == "raise_exception") {
    const Value message = args.next_or("message", Value());
    args.done();
    throw Error(cat("the template refuses this conversation: ", in.str(message).bytes()));
  }
  if (name == "strftime_now") {
    const Text format = args.next_text("format", "");
    args.done();
    in.budget().bytes(format.size() * 16);
    return Value::text(Text(formatted_time(format.bytes(), in.now()), format.all_trusted()));
  }
  if (name == "namespace") {
    const std::shared_ptr<Namespace> space = in.make_namespace();
    for (auto& [key, value] : named_entries(args)) space->set(key, value);
    return Value::space(space);
  }
  Dict dict;
  for (auto& [key, value] : named_entries(args)) dict.set(Value::text(key), value);
  in.budget().bytes(dict.entries().size() * 2 * sizeof(Value));
  return Value::dict(std::move(dict));
}

bool has_method(const Value& object, std::string_view name) {
  if (object.if_text()) return is_string_method(name);
  if (object.if_dict()) return name == "get" || name == "items" || name == "keys" || name == "values" || name == "copy";
  const List* list = object.if_list();
  if (!list || list->kind >= ListKind::kView) return false;
  return name == "index" || name == "count" || (name == "copy" && list->kind == ListKind::kList);
}

Value call_method(Interpreter& in, const Value& self, const std::string& name, Args& args) {
  if (const Text* text = self.if_text()) return call_string_method(in, *text, name, args);
  if (const Dict* dict = self.if_dict()) return call_dict_method(in, *dict, name, args);
  if (const List* list = self.if_list()) return call_list_method(in, *list, name, args);
  check(self.if_loop() != nullptr, "a method is bound to a string, dict, list or loop");
  return call_loop_method(in, *self.if_loop(), name, args);
}

}  // namespace fathom::jinja
