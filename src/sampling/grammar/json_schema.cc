#include "sampling/grammar/json_schema.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "sampling/grammar/schema_compiler.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr int kDeepest = 100;
constexpr size_t kMostSchemas = size_t{1} << 17, kMostMerged = size_t{1} << 22;

constexpr std::string_view kKeywords[] = {"type",
                                          "nullable",
                                          "properties",
                                          "required",
                                          "additionalProperties",
                                          "minProperties",
                                          "maxProperties",
                                          "items",
                                          "prefixItems",
                                          "minItems",
                                          "maxItems",
                                          "minLength",
                                          "maxLength",
                                          "pattern",
                                          "format",
                                          "minimum",
                                          "maximum",
                                          "exclusiveMinimum",
                                          "exclusiveMaximum",
                                          "multipleOf",
                                          "enum",
                                          "const",
                                          "anyOf",
                                          "oneOf",
                                          "allOf",
                                          "$ref",
                                          "uniqueItems",
                                          "strict"};

// Keywords that must not stand beside enum and const: each value would have to be checked.
constexpr std::string_view kBesideEnum[] = {"type", "nullable", "enum", "const"};

std::string_view type_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::object: return "object";
    case json::kind::array: return "array";
    case json::kind::string: return "string";
    case json::kind::bool_: return "boolean";
    case json::kind::null: return "null";
    case json::kind::double_: {
      const double number = value.get_double();
      return number == static_cast<double>(static_cast<int64_t>(std::clamp(number, -1e15, 1e15))) ? "integer"
                                                                                                  : "number";
    }
    default: return "integer";
  }
}

bool contains(std::span<const std::string_view> list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

// How large a value is: values, names, and strings by the hundred bytes. Without recursion. Throws Error if the value
// is nested deeper than what follows may recurse.
size_t measured(const json::value& value, const std::string& where) {
  size_t parts = 0;
  std::vector<std::pair<const json::value*, int>> todo{{&value, 0}};
  while (!todo.empty()) {
    const auto [at, depth] = todo.back();
    todo.pop_back();
    if (depth > 2 * kDeepest) wrong_schema(where, cat("at most ", 2 * kDeepest, " levels"), "more");
    ++parts;
    if (at->is_string()) parts += at->get_string().size() / 100;
    if (const json::array* array = at->if_array())
      for (const json::value& item : *array) todo.emplace_back(&item, depth + 1);
    if (const json::object* object = at->if_object())
      for (const auto& [key, item] : *object) parts += 1 + key.size() / 100, todo.emplace_back(&item, depth + 1);
  }
  return parts;
}

class Deeper {
 public:
  Deeper(int& depth, const std::string& where) : depth_(depth) {
    if (++depth_ > kDeepest) {
      --depth_;
      wrong_schema(where.substr(0, 100), cat("at most ", kDeepest, " levels"), "more");
    }
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

}  // namespace

Grammar SchemaCompiler::run() {
  measured(root_, "#");
  const RuleId root = b_.declare("#");
  const RuleId whole = b_.declare("document");
  rules_[{&root_, ""}] = root;
  waiting_.push_back({root, {&root_, "#"}, ""});
  b_.define(whole, b_.sequence({json_.space(), b_.rule(root)}));
  for (; !waiting_.empty(); waiting_.pop_front()) {
    const Waiting next = waiting_.front();
    const ExprId expr = next.type.empty() ? body(next.at, true) : typed(next.at, next.type, true);
    b_.define(next.rule, expr);
  }
  try {
    return b_.build(whole, GrammarBuilder::Unfinishable::kDrop);
  } catch (const Error& e) {
    if (std::string_view(e.what()).find("rule document") == std::string_view::npos)
      throw Error(cat("JSON schema: ", e.what()));
    throw Error("JSON schema: #: expected a schema that some finite document satisfies, found none that does");
  }
}

void SchemaCompiler::visit(const std::string& where) {
  if (++visited_ > kMostSchemas)
    wrong_schema(where.substr(0, 100), cat("at most ", kMostSchemas, " schemas in all"), "more");
}

ExprId SchemaCompiler::schema(const SchemaAt& at) { return body(at, false); }

// A rule of its own for a schema (type empty), or for it as one type.
ExprId SchemaCompiler::later(const json::value& value, std::string_view type, const std::string& where) {
  const auto [found, added] = rules_.try_emplace({&value, std::string(type)}, 0);
  if (added) {
    found->second = b_.declare(where);
    waiting_.push_back({found->second, {&value, where}, std::string(type)});
  }
  return b_.rule(found->second);
}

ExprId SchemaCompiler::keep(json::value made, const std::string& where, bool own_rule) {
  made_.push_back(std::move(made));
  return body({&made_.back(), where}, own_rule);
}

ExprId SchemaCompiler::body(const SchemaAt& at, bool own_rule) {
  visit(at.where);
  const Deeper deeper(depth_, at.where);
  if (at.value->is_bool()) return at.value->get_bool() ? json_.value() : b_.choice({});
  if (!at.value->is_object()) wrong_schema(at.where, "an object, true or false", to_json(*at.value).substr(0, 100));
  const json::object& o = at.value->get_object();
  check_keywords(o, at.where);
  if (const json::value* ref = o.if_contains("$ref")) {
    if (!only_annotations(o, "$ref")) return keep(resolved(*at.value, at.where, 0), at.where, own_rule);
    const json::value& to = target(*ref, at.where);
    return later(to, "", std::string(std::string_view(ref->get_string())));
  }
  if (o.contains("allOf")) return keep(all_of(o, at.where, 0), at.where, own_rule);
  for (const std::string_view keyword : {"anyOf", "oneOf"})
    if (o.contains(keyword)) return branches(at, keyword);
  if (o.contains("enum") || o.contains("const")) return enumerated(at);
  const std::vector<std::string> types = types_of(o, at.where);
  if (types.size() == 7) return json_.value();
  std::vector<ExprId> ways;
  ways.reserve(types.size());
  for (const std::string& type : types) ways.push_back(typed(at, type, own_rule));
  return b_.choice(std::move(ways));
}

void SchemaCompiler::check_keywords(const json::object& o, const std::string& where) const {
  for (const auto& [key, value] : o) {
    const std::string_view keyword = key;
    if (is_annotation(keyword)) continue;
    if (!contains(kKeywords, keyword))
      wrong_schema(pointer_to(where, keyword.substr(0, 100)), "a supported keyword",
                   cat("\"", keyword.substr(0, 100), "\""));
    if (keyword == "uniqueItems" && !(value.is_bool() && !value.get_bool()))
      wrong_schema(pointer_to(where, keyword), "no uniqueItems (which no grammar can tell)",
                   to_json(value).substr(0, 100));
  }
}

ExprId SchemaCompiler::branches(const SchemaAt& at, std::string_view keyword) {
  const json::object& o = at.value->get_object();
  const std::string where = pointer_to(at.where, keyword);
  const json::value* list = o.if_contains(keyword);
  if (!list->is_array() || list->get_array().empty())
    wrong_schema(where, "a list of schemas", to_json(*list).substr(0, 100));
  const bool alone = only_annotations(o, keyword);
  json::value rest(*at.value);
  rest.get_object().erase(keyword);
  std::vector<ExprId> ways;
  for (const json::value& branch : list->get_array()) {
    const std::string there = pointer_to(where, std::to_string(ways.size()));
    if (alone) {
      ways.push_back(schema({&branch, there}));
    } else {
      ways.push_back(keep(merged(rest, resolved(branch, there, 0), there), there, false));
    }
  }
  return b_.choice(std::move(ways));
}

json::value SchemaCompiler::merged(const json::value& a, const json::value& b, const std::string& where) {
  json::value both = merge_schemas(a, b, where);
  merged_ += measured(both, where);
  if (merged_ > kMostMerged)
    wrong_schema(where, cat("merged schemas of at most ", kMostMerged, " parts in all"), "more");
  return both;
}

// `value` without $ref and allOf at its top.
json::value SchemaCompiler::resolved(const json::value& value, const std::string& where, int depth) {
  visit(where);
  if (depth > kDeepest) wrong_schema(where, "references and allOf that come to an end", "more than 100 levels of them");
  if (!value.is_object()) return value;
  const json::object& o = value.get_object();
  check_keywords(o, where);
  if (const json::value* ref = o.if_contains("$ref")) {
    const json::value to = resolved(target(*ref, where), std::string(std::string_view(ref->get_string())), depth + 1);
    json::object rest = o;
    rest.erase("$ref");
    return merged(resolved(rest, where, depth + 1), to, where);
  }
  return o.contains("allOf") ? all_of(o, where, depth) : value;
}

json::value SchemaCompiler::all_of(const json::object& o, const std::string& where, int depth) {
  const std::string there = pointer_to(where, "allOf");
  const json::value& list = o.at("allOf");
  if (!list.is_array() || list.get_array().empty())
    wrong_schema(there, "a list of schemas", to_json(list).substr(0, 100));
  json::object rest = o;
  rest.erase("allOf");
  json::value both = std::move(rest);
  size_t i = 0;
  for (const json::value& part : list.get_array()) {
    const std::string at = pointer_to(there, std::to_string(i++));
    both = merged(both, resolved(part, at, depth + 1), at);
  }
  return resolved(both, where, depth + 1);
}

const json::value& SchemaCompiler::target(const json::value& ref, const std::string& where) const {
  const std::string at = pointer_to(where, "$ref");
  if (!ref.is_string()) wrong_schema(at, "a string", to_json(ref).substr(0, 100));
  const std::string_view text = ref.get_string();
  if (!text.starts_with("#") || (text.size() > 1 && text[1] != '/'))
    wrong_schema(at, "a JSON pointer within this schema, as #/$defs/name", text.substr(0, 200));
  const json::value* to = &root_;
  for (size_t begin = 1; begin < text.size();) {
    const size_t end = std::min(text.find('/', begin + 1), text.size());
    std::string step;
    for (size_t i = begin + 1; i < end; ++i) {
      const bool escaped = text[i] == '~' && i + 1 < end && (text[i + 1] == '0' || text[i + 1] == '1');
      step += escaped ? (text[++i] == '0' ? '~' : '/') : text[i];
    }
    const json::value* next = to->is_object() ? to->get_object().if_contains(step) : nullptr;
    if (const json::array* array = to->if_array()) {
      const bool digits = !step.empty() && step.size() < 8 && step.find_first_not_of("0123456789") == std::string::npos;
      if (digits) next = array->if_contains(std::stoul(step));
    }
    if (!next) wrong_schema(at, "a reference to a schema that is there", text.substr(0, 200));
    to = next;
    begin = end;
  }
  return *to;
}

ExprId SchemaCompiler::enumerated(const SchemaAt& at) {
  const json::object& o = at.value->get_object();
  for (const auto& member : o)
    if (!contains(kBesideEnum, member.key()) && !is_annotation(member.key()))
      wrong_schema(pointer_to(at.where, member.key()), "only type beside enum and const", "another keyword");
  const json::value *list = o.if_contains("enum"), *constant = o.if_contains("const");
  if (list && !list->is_array()) wrong_schema(pointer_to(at.where, "enum"), "a list", to_json(*list).substr(0, 100));
  const json::array values = list ? list->get_array() : json::array{*constant};
  const std::vector<std::string> types = types_of(o, at.where);
  const auto has_type = [&](std::string_view type) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  std::vector<ExprId> ways;
  for (const json::value& value : values) {
    const std::string_view type = type_of(value);
    if (!has_type(type) && !(type == "integer" && has_type("number"))) continue;
    if (list && constant && value != *constant) continue;
    ways.push_back(json_.constant(value));
  }
  return b_.choice(std::move(ways));
}

ExprId SchemaCompiler::typed(const SchemaAt& at, std::string_view type, bool own_rule) {
  const json::object& o = at.value->get_object();
  if (type == "string") return string(o, at.where);
  if (type == "number") return number(o, at.where, false);
  if (type == "integer") return number(o, at.where, true);
  if (type == "boolean") return json_.boolean();
  if (type == "null") return json_.null();
  if (!own_rule) return later(*at.value, type, at.where);
  return type == "object" ? object(o, at.where) : array(o, at.where);
}

Grammar compile_json_schema(const json::value& schema, SchemaOptions options) {
  return SchemaCompiler(schema, options).run();
}

}  // namespace fathom
