#include "text/jinja/value.h"

#include <cmath>

#include "base/error.h"

namespace fathom::jinja {

void Budget::step(uint64_t n) {
  if (n > steps_) throw ResourceError("expected to finish within the limit of steps, found more");
  steps_ -= n;
}

void Budget::bytes(uint64_t n) {
  if (n > bytes_) throw ResourceError("expected to stay within the limit of bytes, found more");
  bytes_ -= n;
}

namespace {
int deeper(int have, const Value& child) {
  const int depth = std::max(have, child.depth() + 1);
  if (depth > kMaxValueDepth) throw Error(cat("expected values nested at most ", kMaxValueDepth, " deep, found more"));
  return depth;
}

// Equal keys of Python (1, 1.0 and True) give equal strings.
std::string hash_key(const Value& key) {
  if (const Text* text = key.if_text()) return "s" + text->bytes();
  if (key.is_none()) return "0";
  if (const std::optional<Int> i = key.as_int()) return "n" + to_string(*i);
  if (const double* d = key.if_double()) {
    if (std::fabs(*d) < 0x1p100 && *d == std::floor(*d)) return "n" + to_string(static_cast<Int>(*d));
    return "f" + float_repr(*d);
  }
  throw Error(cat("expected a key that is a string or number, found ", key.type_name()));
}
}  // namespace

Value Value::undefined(std::string what) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(what))}, true);
}

Value Value::text(Text x) { return Value(std::make_shared<const Text>(std::move(x)), true); }

Value Value::list(List x) {
  for (const Value& item : x.items) x.depth = deeper(x.depth, item);
  return Value(std::make_shared<const List>(std::move(x)), true);
}

Value Value::dict(Dict x) { return Value(std::make_shared<const Dict>(std::move(x)), true); }

Value Value::callable(Callable x) {
  deeper(1, x.self);
  return Value(std::make_shared<const Callable>(std::move(x)), true);
}

Value Value::from_json(const json::value& x, Budget& budget, int depth) {
  if (depth > kMaxValueDepth - 20) throw Error("chat template variables: expected JSON nested less deeply");
  budget.step();
  switch (x.kind()) {
    case json::kind::null: return none(false);
    case json::kind::bool_: return boolean(x.get_bool(), false);
    case json::kind::int64: return integer(x.get_int64(), false);
    case json::kind::uint64: return integer(x.get_uint64(), false);
    case json::kind::double_: return number(x.get_double(), false);
    case json::kind::string: {
      const std::string_view s = x.get_string();
      budget.bytes(s.size());
      return text(std::string(s), false);
    }
    case json::kind::array: {
      List list;
      list.items.reserve(x.get_array().size());
      for (const json::value& item : x.get_array()) list.items.push_back(from_json(item, budget, depth + 1));
      return Value::list(std::move(list));
    }
    case json::kind::object: {
      Dict dict;
      for (const auto& [key, item] : x.get_object()) {
        budget.bytes(key.size());
        dict.set(text(std::string(key), false), from_json(item, budget, depth + 1));
      }
      return Value::dict(std::move(dict));
    }
  }
  return {};
}

std::optional<Int> Value::as_int() const {
  if (const bool* b = if_bool()) return *b ? 1 : 0;
  if (const Int* i = if_int()) return *i;
  return std::nullopt;
}

std::optional<double> Value::as_double() const {
  if (const std::optional<Int> i = as_int()) return static_cast<double>(*i);
  if (const double* d = if_double()) return *d;
  return std::nullopt;
}

int Value::depth() const {
  if (const List* list = if_list()) return list->depth;
  if (const Dict* dict = if_dict()) return dict->depth();
  if (const Loop* loop = if_loop()) return loop->items.depth() + 1;
  if (const Callable* f = if_callable()) return f->self.depth() + 1;
  return 0;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* b = if_bool()) return *b;
  if (const Int* i = if_int()) return *i != 0;
  if (const double* d = if_double()) return *d != 0;
  if (const Text* text = if_text()) return !text->empty();
  if (const List* list = if_list()) return list->kind == ListKind::kIterator || !list->items.empty();
  if (const Dict* dict = if_dict()) return !dict->entries().empty();
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (if_bool()) return "bool";
  if (if_int()) return "int";
  if (if_double()) return "float";
  if (if_text()) return "str";
  if (if_dict()) return "dict";
  if (if_space()) return "Namespace";
  if (if_loop()) return "LoopContext";
  if (const List* list = if_list()) {
    static constexpr std::string_view kNames[] = {"list", "tuple", "dict view", "generator"};
    return kNames[static_cast<size_t>(list->kind)];
  }
  return "callable";
}

std::string Value::undefined_message() const {
  const auto* u = std::get_if<Undefined>(&data_);
  return u && u->what ? *u->what : std::string("the value is undefined");
}

bool Value::same_object(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(
      [&]<class T>(const T& x) {
        if constexpr (requires { x.get(); })
          return x == std::get<T>(other.data_);
        else
          return false;
      },
      data_);
}

const Value* Dict::find_key(const std::string& key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}
const Value* Dict::find(const Value& key) const { return find_key(hash_key(key)); }
const Value* Dict::find(std::string_view key) const { return find_key("s" + std::string(key)); }

void Dict::set(const Value& key, Value value) {
  depth_ = deeper(depth_, value);
  const auto [it, inserted] = index_.try_emplace(hash_key(key), entries_.size());
  if (inserted)
    entries_.emplace_back(key, std::move(value));
  else
    entries_[it->second].second = std::move(value);
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : vars)
    if (key == name) return &value;
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  for (auto& [key, old] : vars)
    if (key == name) {
      old = std::move(value);
      return;
    }
  if (vars.size() >= 1000) throw ResourceError("expected at most 1000 names in a namespace, found more");
  vars.emplace_back(name, std::move(value));
}

bool equals(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.same_object(b)) return true;
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_number() && b.is_number()) {
    const std::optional<Int> i = a.as_int(), j = b.as_int();
    return i && j ? *i == *j : *a.as_double() == *b.as_double();
  }
  if (a.if_text() && b.if_text()) {
    budget.step(a.if_text()->size() / 64);
    return a.if_text()->bytes() == b.if_text()->bytes();
  }
  if (const List* x = a.if_list(), *y = b.if_list(); x && y) {
    if (x->kind != y->kind || x->items.size() != y->items.size() || x->kind >= ListKind::kView) return false;
    for (size_t i = 0; i < x->items.size(); ++i)
      if (!equals(x->items[i], y->items[i], budget)) return false;
    return true;
  }
  if (const Dict* x = a.if_dict(), *y = b.if_dict(); x && y) {
    if (x->entries().size() != y->entries().size()) return false;
    for (const auto& [key, value] : x->entries()) {
      const Value* other = y->find(key);
      if (!other || !equals(value, *other, budget)) return false;
    }
    return true;
  }
  return false;
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    const std::optional<Int> i = a.as_int(), j = b.as_int();
    return i && j ? *i < *j : *a.as_double() < *b.as_double();
  }
  // UTF-8 sorts as its code points do.
  if (a.if_text() && b.if_text()) return a.if_text()->bytes() < b.if_text()->bytes();
  if (const List* x = a.if_list(), *y = b.if_list(); x && y && x->kind == y->kind && x->kind < ListKind::kView) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i)
      if (!equals(x->items[i], y->items[i], budget)) return less(x->items[i], y->items[i], budget);
    return x->items.size() < y->items.size();
  }
  if (a.is_undefined()) throw Error(a.undefined_message());
  if (b.is_undefined()) throw Error(b.undefined_message());
  throw Error(cat("expected values that can be ordered, found ", a.type_name(), " and ", b.type_name()));
}

std::vector<Value> split_code_points(const Text& text, Budget& budget) {
  budget.step(text.size() / 4);
  budget.bytes(text.size() * 64);
  std::vector<Value> out;
  for (size_t i = 0; i < text.size();) {
    const size_t size = code_point_at(text.bytes(), i).size;
    out.push_back(Value::text(text.slice(i, i + size)));
    i += size;
  }
  return out;
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (const Text* text = value.if_text()) return split_code_points(*text, budget);
  std::vector<Value> out;
  if (const List* list = value.if_list()) {
    budget.bytes(list->items.size() * sizeof(Value));
    out.assign(list->items.begin() + static_cast<ptrdiff_t>(list->used), list->items.end());
    if (list->kind == ListKind::kIterator) list->used = list->items.size();
    return out;
  }
  if (const Dict* dict = value.if_dict()) {
    budget.bytes(dict->entries().size() * sizeof(Value));
    for (const auto& [key, item] : dict->entries()) out.push_back(key);
    return out;
  }
  throw Error(cat("expected something to iterate over, found ", value.type_name()));
}

}  // namespace fathom::jinja
