#include "sampling/grammar/schema_merge.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kAnnotations[] = {
    "title",       "description", "default",          "examples",        "example",     "$schema",
    "$id",         "id",          "$comment",         "$defs",           "definitions", "deprecated",
    "readOnly",    "writeOnly",   "contentMediaType", "contentEncoding", "$anchor",     "discriminator",
    "externalDocs"};

constexpr std::pair<std::string_view, std::string_view> kKeywordTypes[] = {
    {"properties", "object"},       {"required", "object"},         {"additionalProperties", "object"},
    {"minProperties", "object"},    {"maxProperties", "object"},    {"items", "array"},
    {"prefixItems", "array"},       {"minItems", "array"},          {"maxItems", "array"},
    {"minLength", "string"},        {"maxLength", "string"},        {"pattern", "string"},
    {"format", "string"},           {"minimum", "number"},          {"maximum", "number"},
    {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}, {"multipleOf", "number"}};

const std::vector<std::string> kTypes{"object", "array", "string", "number", "integer", "boolean", "null"};

bool has(const std::vector<std::string>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

json::value all_of(const json::value& a, const json::value& b) {
  if (a == b) return a;
  return json::object{{"allOf", json::array{a, b}}};
}

bool is_false(const json::value* value) { return value && value->is_bool() && !value->get_bool(); }

class Merger {
 public:
  Merger(const json::object& a, const json::object& b, const std::string& where) : a_(a), b_(b), where_(where) {}

  json::value merge() {
    for (const json::object* side : {&a_, &b_})
      if (side->contains("type") || side->contains("nullable")) merge_types_ = true;
    if (merge_types_ && !types()) return false;
    objects();
    for (const auto& [key, value] : a_) one_side(key, value, b_.if_contains(key));
    for (const auto& [key, value] : b_)
      if (!a_.contains(key)) one_side(key, value, nullptr);
    return std::move(out_);
  }

 private:
  bool types() {
    const std::vector<std::string> a = allowed(a_), b = allowed(b_);
    json::array both;
    for (const std::string& type : kTypes)
      if ((has(a, type) || (type == "integer" && has(a, "number"))) &&
          (has(b, type) || (type == "integer" && has(b, "number"))))
        both.emplace_back(type);
    if (std::find(both.begin(), both.end(), json::value("number")) != both.end())
      both.erase(std::remove(both.begin(), both.end(), json::value("integer")), both.end());
    const bool none = both.empty();
    out_["type"] = std::move(both);
    return !none;
  }
  // Keywords of a type say nothing about the other types, so only `type` itself restricts them.
  std::vector<std::string> allowed(const json::object& side) const {
    return side.contains("type") ? types_of(side, where_) : kTypes;
  }

  void objects() {
    json::object properties;
    const auto add = [&](const json::object& from, const json::object& other, bool both) {
      const json::value *mine = from.if_contains("properties"), *theirs = other.if_contains("properties");
      if (!mine || !mine->is_object()) return;
      const json::value* beside = other.if_contains("additionalProperties");
      for (const auto& [name, schema] : mine->get_object()) {
        const json::value* same = theirs && theirs->is_object() ? theirs->get_object().if_contains(name) : nullptr;
        if (same && both) properties[name] = all_of(schema, *same);
        if (same) continue;
        if (is_false(beside)) continue;  // the other forbids it
        properties[name] = beside && beside->is_object() ? all_of(schema, *beside) : schema;
      }
    };
    add(a_, b_, true);
    add(b_, a_, false);
    if (!properties.empty() || a_.contains("properties") || b_.contains("properties"))
      out_["properties"] = std::move(properties);
  }

  void one_side(std::string_view key, const json::value& value, const json::value* other) {
    if (key == "properties" || (merge_types_ && (key == "type" || key == "nullable"))) return;
    if (key == "prefixItems" && (&value == a_.if_contains(key) ? b_ : a_).contains("items"))
      wrong_schema(where_, "prefixItems and items in the same one of the merged schemas", "them apart");
    out_[key] = other ? both(key, value, *other) : value;
  }

  json::value both(std::string_view key, const json::value& a, const json::value& b) {
    if (a == b || is_annotation(key)) return a;
    if (key == "required" || key == "allOf") return joined(a, b);
    if (key == "enum" && a.is_array() && b.is_array()) return common(a.get_array(), b.get_array());
    if (key == "additionalProperties" || key == "items") {
      if (is_false(&a) || is_false(&b)) return false;
      return all_of(a, b);
    }
    if (a.is_number() && b.is_number() && key != "multipleOf" && key != "const") {
      const bool a_larger = a.to_number<double>() > b.to_number<double>();
      if (key.starts_with("min") || key == "exclusiveMinimum") return a_larger ? a : b;
      if (key.starts_with("max") || key == "exclusiveMaximum") return a_larger ? b : a;
    }
    wrong_schema(where_, cat(key, " in one of the merged schemas"), "it in several");
  }

  /// Every value of one list is looked for in the other.
  void require_few(const json::array& a, const json::array& b) const {
    if (a.size() * b.size() > size_t{1} << 22)
      wrong_schema(where_, "shorter lists to merge", cat("lists of ", a.size(), " and ", b.size()));
  }
  json::value joined(const json::value& a, const json::value& b) const {
    if (!a.is_array() || !b.is_array()) return a;
    require_few(a.get_array(), b.get_array());
    json::array out = a.get_array();
    for (const json::value& item : b.get_array())
      if (std::find(out.begin(), out.end(), item) == out.end()) out.push_back(item);
    return out;
  }
  json::value common(const json::array& a, const json::array& b) const {
    require_few(a, b);
    json::array out;
    for (const json::value& item : a)
      if (std::find(b.begin(), b.end(), item) != b.end()) out.push_back(item);
    return out;
  }

  const json::object &a_, &b_;
  const std::string& where_;
  json::object out_;
  bool merge_types_ = false;
};

}  // namespace

void wrong_schema(const std::string& where, std::string_view expected, std::string_view found) {
  throw Error(cat("JSON schema: ", where, ": expected ", expected, ", found ", found));
}

std::string pointer_to(const std::string& where, std::string_view key) {
  if (where.size() > 1000) return where;  // a pointer is for a person to read
  key = key.substr(0, valid_utf8_prefix(key.substr(0, 100)));
  std::string out = where + "/";
  for (const char c : key) c == '~' ? out += "~0" : c == '/' ? out += "~1" : out += c;
  return out;
}

bool is_annotation(std::string_view keyword) {
  return keyword.starts_with("x-") ||
         std::find(std::begin(kAnnotations), std::end(kAnnotations), keyword) != std::end(kAnnotations);
}

bool only_annotations(const json::object& object, std::string_view except) {
  return std::all_of(object.begin(), object.end(),
                     [&](const auto& member) { return member.key() == except || is_annotation(member.key()); });
}

std::optional<uint32_t> count_of(const json::object& object, std::string_view keyword, const std::string& where) {
  const json::value* value = object.if_contains(keyword);
  if (!value) return std::nullopt;
  const double count = value->is_number() ? value->to_number<double>() : -1;
  if (!(count >= 0 && count <= double{1u << 31}) || count != static_cast<double>(static_cast<uint32_t>(count)))
    wrong_schema(pointer_to(where, keyword), "a whole number from 0 to 2147483648", to_json(*value));
  return static_cast<uint32_t>(count);
}

std::vector<std::string> types_of(const json::object& object, const std::string& where) {
  std::vector<std::string> types;
  const auto add = [&](const json::value& type) {
    if (!type.is_string() || !has(kTypes, std::string_view(type.get_string())))
      wrong_schema(pointer_to(where, "type"), "one of object, array, string, number, integer, boolean, null",
                   to_json(type));
    if (!has(types, std::string_view(type.get_string()))) types.emplace_back(std::string_view(type.get_string()));
  };
  if (const json::value* type = object.if_contains("type")) {
    if (type->is_array()) {
      for (const json::value& one : type->get_array()) add(one);
    } else {
      add(*type);
    }
    const json::value* nullable = object.if_contains("nullable");
    if (nullable && nullable->is_bool() && nullable->get_bool()) add("null");
    if (has(types, "number")) types.erase(std::remove(types.begin(), types.end(), "integer"), types.end());
    return types;
  }
  for (const auto& [keyword, type] : kKeywordTypes)
    if (object.contains(keyword) && !has(types, type)) types.emplace_back(type);
  return types.empty() ? kTypes : types;
}

json::value merge_schemas(const json::value& a, const json::value& b, const std::string& where) {
  for (const json::value* side : {&a, &b})
    if (!side->is_bool() && !side->is_object()) wrong_schema(where, "a schema", to_json(*side).substr(0, 100));
  if (a.is_bool()) return a.get_bool() ? b : a;
  if (b.is_bool()) return b.get_bool() ? a : b;
  const json::value *one = a.get_object().if_contains("const"), *other = b.get_object().if_contains("const");
  if (one && other && *one != *other) return false;
  return Merger(a.get_object(), b.get_object(), where).merge();
}

}  // namespace fathom
