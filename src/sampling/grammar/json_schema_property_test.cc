// Random schemas against documents that are made, and judged, without the grammar: what a schema allows can be written
// token by token, what it does not allow cannot. A seed replays a failure.
#include <set>

#include "base/error.h"
#include "sampling/grammar/grammar_fixture.h"
#include "sampling/grammar/json_schema.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom {
namespace {

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  size_t below(size_t n) { return random_() % n; }
  bool chance(size_t one_in) { return below(one_in) == 0; }

  json::value schema(int depth) {
    switch (below(depth > 0 ? 11 : 7)) {
      case 0: return {{"type", "boolean"}};
      case 1: return {{"type", "null"}};
      case 2: return integer_schema();
      case 3: return {{"type", "number"}};
      case 4: return string_schema();
      case 5: return {{"enum", json::array{"red", "gr\u00fcn", 3, nullptr, json::array{1, "x"}}}};
      case 6: return {{"type", json::array{"string", "null"}}};
      case 7: return array_schema(depth);
      case 8: return {{"anyOf", json::array{schema(depth - 1), schema(depth - 1)}}};
      case 9: return {{"$ref", "#/$defs/tree"}};
      default: return object_schema(depth);
    }
  }

  json::value root() {
    json::value top = object_schema(3);
    json::object tree{
        {"type", "object"},
        {"properties", {{"v", integer_schema()}, {"kids", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}}}}},
        {"required", json::array{"v"}},
        {"additionalProperties", false}};
    top.get_object()["$defs"] = {{"tree", tree}};
    return top;
  }

  /// A document of the schema.
  json::value document(const json::value& schema, const json::value& root, int depth) {
    const json::object& o = schema.get_object();
    if (o.contains("$ref")) return document(root.at("$defs").at("tree"), root, depth);
    if (const auto* any = o.if_contains("anyOf")) return document(any->get_array()[below(2)], root, depth);
    if (const auto* list = o.if_contains("enum")) return list->get_array()[below(list->get_array().size())];
    const json::value& type = o.at("type");
    if (type.is_array()) return chance(2) ? json::value() : json::value(text(0, 12));
    if (type == "boolean") return chance(2);
    if (type == "null") return {};
    if (type == "number") return (static_cast<double>(below(2000000)) - 1e6) / 128;
    if (type == "integer")
      return bound(o, "minimum", -50) +
             static_cast<int64_t>(below(static_cast<size_t>(bound(o, "maximum", 50) - bound(o, "minimum", -50) + 1)));
    if (type == "string")
      return json::value(
          text(static_cast<size_t>(bound(o, "minLength", 0)), static_cast<size_t>(bound(o, "maxLength", 20))));
    if (type == "array") {
      json::array out;
      const int64_t min = bound(o, "minItems", 0), max = depth > 4 ? min : bound(o, "maxItems", min + 3);
      for (size_t n = static_cast<size_t>(min) + below(static_cast<size_t>(max - min + 1)); n > 0; --n)
        out.push_back(document(o.at("items"), root, depth + 1));
      return out;
    }
    json::object out;
    for (const auto& [name, property] : o.at("properties").get_object())
      if (is_required(o, name) || (depth < 5 && chance(2))) out[name] = document(property, root, depth + 1);
    if (const auto* more = o.if_contains("additionalProperties"); more && more->is_object())
      for (size_t n = below(3); n > 0; --n) out[cat("extra", n)] = document(*more, root, depth + 1);
    return out;
  }

  static bool is_required(const json::object& o, std::string_view name) {
    const json::array& names = o.at("required").get_array();
    return std::any_of(names.begin(), names.end(), [&](const json::value& n) { return n.get_string() == name; });
  }
  static int64_t bound(const json::object& o, const char* key, int64_t fallback) {
    const json::value* value = o.if_contains(key);
    return value ? value->to_number<int64_t>() : fallback;
  }

  /// The document as text, with white space and escapes as models and programs write them.
  std::string write(const json::value& value, int style, int depth = 0) {
    const auto line = [&](int d) {
      return style == 2 ? "\n" + std::string(static_cast<size_t>(2 * d), ' ') : std::string();
    };
    const std::string gap = style == 0 ? "" : " ";
    if (value.is_string() && chance(3)) return to_json(value, {.ensure_ascii = true});
    if (!value.is_array() && !value.is_object()) return to_json(value);
    std::string out(1, value.is_array() ? '[' : '{');
    bool first = true;
    const auto begin = [&] {
      if (!first) out += style == 1 ? ", " : ",";
      first = false;
      out += line(depth + 1);
    };
    if (const auto* array = value.if_array())
      for (const json::value& item : *array) begin(), out += write(item, style, depth + 1);
    if (const auto* object = value.if_object())
      for (const auto& [key, item] : *object)
        begin(), out += to_json(json::value(key)) + ":" + gap + write(item, style, depth + 1);
    if (!first) out += line(depth);
    return out + (value.is_array() ? ']' : '}');
  }

  /// One change somewhere in the document.
  json::value mutated(json::value value, int depth = 0) {
    if (auto* object = value.if_object(); object && !object->empty() && !chance(4)) {
      auto at = object->begin() + static_cast<ptrdiff_t>(below(object->size()));
      if (chance(3)) return object->erase(at), value;
      at->value() = mutated(at->value(), depth + 1);
      return value;
    }
    if (auto* array = value.if_array(); array && !array->empty() && !chance(4)) {
      json::value& item = (*array)[below(array->size())];
      if (chance(3)) return array->push_back(json::value(item)), value;
      item = mutated(item, depth + 1);
      return value;
    }
    switch (below(6)) {
      case 0: return static_cast<int64_t>(below(200)) - 100;
      case 1: return json::value(text(0, 30));
      case 2: return nullptr;
      case 3: return json::array{value};
      case 4: return json::object{{"v", value}};
      default: return 0.5;
    }
  }

 private:
  json::value integer_schema() {
    json::object o{{"type", "integer"}};
    if (chance(2)) o["minimum"] = static_cast<int64_t>(below(30)) - 20;
    if (chance(2)) o["maximum"] = static_cast<int64_t>(below(300)) + 10;
    return o;
  }
  json::value string_schema() {
    json::object o{{"type", "string"}};
    if (chance(3)) o["minLength"] = static_cast<int64_t>(below(4));
    if (chance(2)) o["maxLength"] = static_cast<int64_t>(4 + below(12));
    return o;
  }
  json::value array_schema(int depth) {
    json::object o{{"type", "array"}, {"items", schema(depth - 1)}};
    if (chance(2)) o["minItems"] = static_cast<int64_t>(below(3));
    if (chance(2)) o["maxItems"] = static_cast<int64_t>(3 + below(3));
    return o;
  }
  json::value object_schema(int depth) {
    json::object properties;
    json::array required;
    for (size_t n = below(5); n > 0; --n) {
      const std::string name = std::vector<std::string>{"a", "ab", "name", "na\u00efve", "x\"y", "v", "kids"}[below(7)];
      properties[name] = schema(depth - 1);
    }
    for (const auto& [name, property] : properties)
      if (chance(2)) required.emplace_back(name);
    json::object o{{"type", "object"}, {"properties", properties}, {"required", required}};
    if (!chance(3)) o["additionalProperties"] = chance(2) ? json::value(false) : schema(depth - 1);
    return o;
  }
  json::string text(size_t least, size_t most) {
    static const std::vector<std::string> chars{"a",    "b",      " ",      "Z",          "\"", "\\", "\n", "/",
                                                "\x01", "\u00e9", "\u4e2d", "\U0001F600", "7",  "{",  "]",  ","};
    std::string out;
    for (size_t n = least + below(most - least + 1); n > 0; --n) out += chars[below(chars.size())];
    return json::string(out);
  }

  std::mt19937_64 random_;
};

size_t characters(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// Whether the document satisfies the schema, in the order of properties that the grammar asks for.
bool valid(const json::value& schema, const json::value& d, const json::value& root) {
  if (schema.is_bool()) return schema.get_bool();
  const json::object& o = schema.get_object();
  if (o.contains("$ref")) return valid(root.at("$defs").at("tree"), d, root);
  if (const auto* any = o.if_contains("anyOf"))
    return valid(any->get_array()[0], d, root) || valid(any->get_array()[1], d, root);
  if (const auto* list = o.if_contains("enum"))
    return std::find(list->get_array().begin(), list->get_array().end(), d) != list->get_array().end();
  const json::value& type = o.at("type");
  if (type.is_array()) return d.is_string() || d.is_null();
  if (type == "boolean") return d.is_bool();
  if (type == "null") return d.is_null();
  if (type == "number") return d.is_number();
  if (type == "integer") {
    if (!d.is_int64() && !d.is_uint64()) return false;
    const auto x = d.to_number<int64_t>();
    return x >= Maker::bound(o, "minimum", INT64_MIN) && x <= Maker::bound(o, "maximum", INT64_MAX);
  }
  if (type == "string") {
    if (!d.is_string()) return false;
    const auto n = static_cast<int64_t>(characters(d.get_string()));
    return n >= Maker::bound(o, "minLength", 0) && n <= Maker::bound(o, "maxLength", INT64_MAX);
  }
  if (type == "array") {
    if (!d.is_array()) return false;
    const auto n = static_cast<int64_t>(d.get_array().size());
    if (n < Maker::bound(o, "minItems", 0) || n > Maker::bound(o, "maxItems", INT64_MAX)) return false;
    return std::all_of(d.get_array().begin(), d.get_array().end(),
                       [&](const json::value& item) { return valid(o.at("items"), item, root); });
  }
  if (!d.is_object()) return false;
  const json::object& properties = o.at("properties").get_object();
  auto next = properties.begin();
  for (const auto& [name, item] : d.get_object()) {
    while (next != properties.end() && next->key() != name && !Maker::is_required(o, next->key())) ++next;
    if (next != properties.end() && next->key() == name) {
      if (!valid(next->value(), item, root)) return false;
      ++next;
      continue;
    }
    const json::value* more = o.if_contains("additionalProperties");
    if (next != properties.end() || properties.contains(name) || (more && !valid(*more, item, root))) return false;
  }
  return std::all_of(next, properties.end(), [&](const auto& p) { return !Maker::is_required(o, p.key()); });
}

TEST(JsonSchemaProperty, ValidDocumentsAreReachableAndOthersAreNot) {
  size_t invalid = 0, documents = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Maker make(seed);
    const json::value schema = make.root();
    SCOPED_TRACE(cat("seed ", seed, ": ", to_json(schema)));
    const Grammar grammar = compile_json_schema(schema);
    for (int i = 0; i < 8; ++i) {
      const json::value document = make.document(schema, schema, 0);
      ASSERT_TRUE(valid(schema, document, schema)) << to_json(document);
      GrammarMatcher matcher(grammar);
      const std::string text = make.write(document, i % 3);
      for (size_t at = 0; at < text.size(); ++at) {
        ASSERT_FALSE(at > 0 && matcher.must_finish()) << text.substr(0, at);
        ASSERT_TRUE(matcher.accept(text.substr(at, 1))) << text.substr(0, at + 1);
      }
      ASSERT_TRUE(matcher.may_finish()) << text;
      const json::value changed = make.mutated(document);
      const std::string other = make.write(changed, i % 3);
      GrammarMatcher judge(grammar);
      const bool taken = judge.accept(other) && judge.may_finish();
      ASSERT_EQ(taken, valid(schema, changed, schema)) << other;
      invalid += !taken;
      ++documents;
    }
  }
  EXPECT_GT(invalid, documents / 4);  // the mutations do violate
}

TEST(JsonSchemaProperty, EveryTokenOfAValidDocumentIsInItsMask) {
  const testing::RealVocabulary* real = testing::real_vocabulary(testing::shared_path("data/tokenizers/qwen3"));
  if (!real) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/qwen3";
  const Tokenizer& tokenizer = real->tokenizer;
  const TokenTrie& trie = real->trie;
  std::vector<uint64_t> words;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Maker make(seed);
    const json::value schema = make.root();
    const Grammar grammar = compile_json_schema(schema);
    for (int i = 0; i < 3; ++i) {
      const std::string text = make.write(make.document(schema, schema, 0), i % 3);
      SCOPED_TRACE(cat("seed ", seed, ": ", text));
      GrammarMatcher matcher(grammar);
      for (const TokenId id : tokenizer.encode(text)) {
        ASSERT_TRUE(matcher.mask(trie, words).allows(static_cast<size_t>(id))) << tokenizer.token_view(id);
        ASSERT_TRUE(matcher.accept(tokenizer.token_view(id)));
      }
      EXPECT_TRUE(matcher.may_finish());
    }
  }
}

}  // namespace
}  // namespace fathom
