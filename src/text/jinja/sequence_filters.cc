// Filters of sequences and dicts.
#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

Value iterator(std::vector<Value> items, std::string label = "<generator object>") {
  return Value::list({.items = std::move(items), .kind = ListKind::kIterator, .label = std::move(label)});
}
Value list_of(std::vector<Value> items) { return Value::list({.items = std::move(items)}); }
Value tuple_of(std::vector<Value> items) { return Value::list({.items = std::move(items), .kind = ListKind::kTuple}); }

// item.a.b.0 for the attribute "a.b.0"; an integer is an index.
Value dotted(Interpreter& in, Value item, const Value& attribute, const Value& fallback) {
  if (!attribute.if_text()) {
    item = in.item(item, attribute);
    return item.is_undefined() && !fallback.is_undefined() ? fallback : item;
  }
  const std::string path = attribute.if_text()->bytes();
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    int64_t index = 0;
    const auto [stop, ec] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && part[0] != '-' && ec == std::errc() && stop == part.data() + part.size();
    item = in.item(item, number ? Value::integer(index) : Value::text(part));
    if (item.is_undefined() && !fallback.is_undefined()) return fallback;
    begin = end + 1;
  }
  return item;
}

// What sort, min, max, unique and groupby compare: an attribute of the item, lower case unless told otherwise.
struct Key {
  Interpreter& in;
  Value attribute;
  bool case_sensitive;
  Value operator()(const Value& item) const {
    Value key = attribute.is_none() ? item : dotted(in, item, attribute, Value());
    if (case_sensitive || !key.if_text()) return key;
    return Value::text(change_case(*key.if_text(), Case::kLower, in.budget()));
  }
};

void sort_by(Interpreter& in, std::vector<Value>& items, const std::vector<Key>& keys, bool reverse) {
  std::vector<std::pair<std::vector<Value>, Value>> keyed;
  for (Value& item : items) {
    std::vector<Value> of;
    of.reserve(keys.size());
    for (const Key& key : keys) of.push_back(key(item));
    keyed.emplace_back(std::move(of), std::move(item));
  }
  const auto before = [&](const auto& a, const auto& b) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i + 1 < keys.size() && equals(a.first[i], b.first[i], in.budget())) continue;
      return less(a.first[i], b.first[i], in.budget());
    }
    return false;
  };
  std::stable_sort(keyed.begin(), keyed.end(),
                   [&](const auto& a, const auto& b) { return reverse ? before(b, a) : before(a, b); });
  for (size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
}

Value length(Interpreter&, const Value& value, Args&) {
  if (value.is_undefined()) return Value::integer(0);
  if (const Text* text = value.if_text()) return Value::integer(static_cast<Int>(code_point_count(text->bytes())));
  if (const Dict* dict = value.if_dict()) return Value::integer(static_cast<Int>(dict->entries().size()));
  if (const List* list = value.if_list(); list && list->kind != ListKind::kIterator)
    return Value::integer(static_cast<Int>(list->items.size()));
  if (const Loop* loop = value.if_loop()) return Value::integer(static_cast<Int>(loop->items.if_list()->items.size()));
  throw Error(cat("length: expected a string, list or dict, found ", value.type_name()));
}

Value first(Interpreter& in, const Value& value, Args&) {
  if (const List* list = value.if_list(); list && list->used < list->items.size()) {
    const Value item = list->items[list->used];
    if (list->kind == ListKind::kIterator) ++list->used;
    return item;
  }
  const std::vector<Value> items = iterate(value, in.budget());
  return items.empty() ? Value::undefined("no first item, the sequence was empty") : items.front();
}

Value last(Interpreter& in, const Value& value, Args&) {
  if (const List* list = value.if_list(); list && list->kind == ListKind::kIterator)
    throw Error("last: expected a sequence, found a generator");
  const std::vector<Value> items = iterate(value, in.budget());
  return items.empty() ? Value::undefined("no last item, the sequence was empty") : items.back();
}

Value join_filter(Interpreter& in, const Value& value, Args& args) {
  const Text separator = in.str(args.next_or("d", Value::text("")));
  const Value attribute = args.next_or("attribute", Value::none());
  std::vector<Value> items = iterate(value, in.budget());
  if (!attribute.is_none())
    for (Value& item : items) item = dotted(in, item, attribute, Value());
  return Value::text(join(separator, items, in.budget(), false));
}

Value list_filter(Interpreter& in, const Value& value, Args&) { return list_of(iterate(value, in.budget())); }

Value items_filter(Interpreter& in, const Value& value, Args&) {
  if (value.is_undefined()) return iterator({});
  if (!value.if_dict()) throw Error(cat("items: expected a dict, found ", value.type_name()));
  std::vector<Value> out;
  in.budget().bytes(value.if_dict()->entries().size() * 3 * sizeof(Value));
  for (const auto& [key, item] : value.if_dict()->entries()) out.push_back(tuple_of({key, item}));
  return iterator(std::move(out));
}

Value reverse(Interpreter& in, const Value& value, Args&) {
  if (value.if_text()) return slice(value, Value(), Value(), Value::integer(-1), in.budget());
  std::vector<Value> items = iterate(value, in.budget());
  std::reverse(items.begin(), items.end());
  return iterator(std::move(items));
}

// What map and select go over: Jinja2 takes anything false, as None and 0, for an empty sequence there.
std::vector<Value> items_of(Interpreter& in, const Value& value) {
  return value.truthy() ? iterate(value, in.budget()) : std::vector<Value>();
}

Value map_filter(Interpreter& in, const Value& value, Args& args) {
  std::vector<Value> items = items_of(in, value);
  if (args.positional.empty()) {
    const Value attribute = args.required("attribute");
    const Value fallback = args.next_or("default", Value());
    for (Value& item : items) item = dotted(in, item, attribute, fallback);
    return iterator(std::move(items));
  }
  const std::string name = args.next_text("filter", "").bytes();
  Args rest;
  rest.positional = args.rest();
  rest.named = std::exchange(args.named, {});
  for (Value& item : items) {
    Args each = rest;
    item = in.filter(name, item, each);
  }
  return iterator(std::move(items));
}

template <bool kKeep, bool kAttribute>
Value select(Interpreter& in, const Value& value, Args& args) {
  const Value attribute = kAttribute ? args.required("attribute") : Value();
  std::vector<Value> rest = args.rest();
  const std::string test = rest.empty() ? "" : in.str(rest.front()).bytes();
  std::vector<Value> out;
  for (Value& item : items_of(in, value)) {
    const Value subject = kAttribute ? dotted(in, item, attribute, Value()) : item;
    Args each;
    if (!rest.empty()) each.positional.assign(rest.begin() + 1, rest.end());
    const bool passes = rest.empty() ? subject.truthy() : in.test(test, subject, each);
    if (passes == kKeep) out.push_back(std::move(item));
  }
  return iterator(std::move(out));
}

Value sort(Interpreter& in, const Value& value, Args& args) {
  const bool descending = args.next_bool("reverse", false), case_sensitive = args.next_bool("case_sensitive", false);
  const Value attribute = args.next_or("attribute", Value::none());
  std::vector<Value> items = iterate(value, in.budget());
  std::vector<Key> keys;
  if (const Text* names = attribute.if_text())
    for (size_t begin = 0; begin <= names->size();) {
      const size_t end = std::min(names->bytes().find(',', begin), names->size());
      keys.push_back({in, Value::text(names->slice(begin, end)), case_sensitive});
      begin = end + 1;
    }
  else
    keys.push_back({in, attribute, case_sensitive});
  sort_by(in, items, keys, descending);
  return list_of(std::move(items));
}

Value unique(Interpreter& in, const Value& value, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const Key key{in, args.next_or("attribute", Value::none()), case_sensitive};
  std::vector<Value> out;
  Dict seen;
  for (Value& item : iterate(value, in.budget())) {
    const Value k = key(item);
    if (seen.find(k)) continue;
    seen.set(k, Value::boolean(true));
    out.push_back(std::move(item));
  }
  return iterator(std::move(out));
}

template <bool kMax>
Value extreme(Interpreter& in, const Value& value, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const Key key{in, args.next_or("attribute", Value::none()), case_sensitive};
  const std::vector<Value> items = iterate(value, in.budget());
  if (items.empty()) return Value::undefined("no extreme item, the sequence was empty");
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Value k = key(items[i]);
    if (!(kMax ? less(best_key, k, in.budget()) : less(k, best_key, in.budget()))) continue;
    best = i;
    best_key = std::move(k);
  }
  return items[best];
}

Value dictsort(Interpreter& in, const Value& value, Args& args) {
  const bool case_sensitive = args.next_bool("case_sensitive", false);
  const std::string by = args.next_text("by", "key").bytes();
  const bool descending = args.next_bool("reverse", false);
  if (!value.if_dict()) throw Error(cat("dictsort: expected a dict, found ", value.type_name()));
  if (by != "key" && by != "value") throw Error(cat("dictsort: expected to sort by key or value, found ", by));
  std::vector<Value> items;
  for (const auto& [key, item] : value.if_dict()->entries()) items.push_back(tuple_of({key, item}));
  sort_by(in, items, {{in, Value::integer(by == "key" ? 0 : 1), case_sensitive}}, descending);
  return list_of(std::move(items));
}

Value groupby(Interpreter& in, const Value& value, Args& args) {
  const Key key{in, args.required("attribute"), true};
  std::vector<Value> items = iterate(value, in.budget());
  sort_by(in, items, {key}, false);
  std::vector<Value> out, group;
  for (size_t i = 0; i < items.size(); ++i) {
    group.push_back(items[i]);
    if (i + 1 < items.size() && equals(key(items[i]), key(items[i + 1]), in.budget())) continue;
    out.push_back(tuple_of({key(items[i]), list_of(std::exchange(group, {}))}));
  }
  return list_of(std::move(out));
}

Value sum(Interpreter& in, const Value& value, Args& args) {
  const Value attribute = args.next_or("attribute", Value::none());
  Value total = args.next_or("start", Value::integer(0));
  for (const Value& item : iterate(value, in.budget()))
    total = binary("+", total, attribute.is_none() ? item : dotted(in, item, attribute, Value()), in.budget());
  return total;
}

Value batch(Interpreter& in, const Value& value, Args& args) {
  const Int size = args.next_int("linecount", 0);
  const Value fill = args.next_or("fill_with", Value::none());
  if (size < 1 || size > 1'000'000) throw Error("batch: expected a size between 1 and 1000000");
  std::vector<Value> out, row;
  for (Value& item : iterate(value, in.budget())) {
    row.push_back(std::move(item));
    if (static_cast<Int>(row.size()) == size) out.push_back(list_of(std::exchange(row, {})));
  }
  if (!row.empty()) {
    in.budget().bytes(static_cast<uint64_t>(size) * sizeof(Value));
    if (!fill.is_none()) row.resize(static_cast<size_t>(size), fill);
    out.push_back(list_of(std::move(row)));
  }
  return iterator(std::move(out));
}

Value attr(Interpreter& in, const Value& value, Args& args) {
  const std::string name = in.str(args.required("name")).bytes();
  if (value.if_dict() && !has_method(value, name))
    return Value::undefined(cat("'dict object' has no attribute '", name, "'"));
  return in.attribute(value, name);
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = {{"length", length},
                                                                        {"count", length},
                                                                        {"first", first},
                                                                        {"last", last},
                                                                        {"join", join_filter},
                                                                        {"list", list_filter},
                                                                        {"items", items_filter},
                                                                        {"reverse", reverse},
                                                                        {"map", map_filter},
                                                                        {"select", select<true, false>},
                                                                        {"reject", select<false, false>},
                                                                        {"selectattr", select<true, true>},
                                                                        {"rejectattr", select<false, true>},
                                                                        {"sort", sort},
                                                                        {"unique", unique},
                                                                        {"min", extreme<false>},
                                                                        {"max", extreme<true>},
                                                                        {"dictsort", dictsort},
                                                                        {"groupby", groupby},
                                                                        {"sum", sum},
                                                                        {"batch", batch},
                                                                        {"attr", attr}};
  const auto it = kFilters.find(name);
  return it == kFilters.end() ? nullptr : it->second;
}

}  // namespace fathom::jinja
