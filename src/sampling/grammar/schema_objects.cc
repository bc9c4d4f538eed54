// Objects and arrays of a JSON schema, as graphs of which member may follow which.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "sampling/grammar/schema_compiler.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr uint32_t kMostItems = 100000;

struct Property {
  std::string name;
  ExprId value;
  bool required;
};

}  // namespace

ExprId SchemaCompiler::object(const json::object& o, const std::string& where) {
  const json::value* listed = o.if_contains("properties");
  if (listed && !listed->is_object())
    wrong_schema(pointer_to(where, "properties"), "an object", to_json(*listed).substr(0, 100));
  std::vector<std::string> required;
  if (const json::value* names = o.if_contains("required")) {
    if (!names->is_array()) wrong_schema(pointer_to(where, "required"), "a list", to_json(*names).substr(0, 100));
    for (const json::value& name : names->get_array()) {
      if (!name.is_string())
        wrong_schema(pointer_to(where, "required"), "a list of strings", to_json(name).substr(0, 100));
      required.emplace_back(std::string_view(name.get_string()));
    }
  }
  const std::set<std::string_view> needed(required.begin(), required.end());
  const json::value allowed(options_.additional_properties);
  const json::value* further = o.if_contains("additionalProperties");
  const std::string further_where = pointer_to(where, "additionalProperties");
  const ExprId further_value = schema({further ? further : &allowed, further_where});
  const bool may_have_further =
      !((further ? further : &allowed)->is_bool() && !(further ? further : &allowed)->get_bool());

  std::vector<Property> properties;
  std::vector<std::string> names;
  if (listed)
    for (const auto& [key, value] : listed->get_object()) {
      const std::string name(key);
      const std::string there = pointer_to(pointer_to(where, "properties"), name);
      properties.push_back({name, schema({&value, there}), needed.count(name) > 0});
      names.push_back(name);
    }
  std::set<std::string_view> missing = needed;
  for (const Property& p : properties) missing.erase(p.name);
  for (const std::string& name : required)
    if (missing.erase(name) > 0) {
      properties.push_back({name, further_value, true});
      names.push_back(name);
    }
  const uint32_t min = count_of(o, "minProperties", where).value_or(0);
  const uint32_t max = count_of(o, "maxProperties", where).value_or(GrammarBuilder::kUnlimited);
  if (properties.empty() && may_have_further) {
    if (min > max) return b_.choice({});
    if (min > kMostItems || (max > kMostItems && max != GrammarBuilder::kUnlimited))
      wrong_schema(where, cat("minProperties and maxProperties of at most ", kMostItems), "more");
    return json_.list("{", json_.member(json_.string(), further_value), min, max, "}");
  }
  if (min > needed.size() || (max < properties.size() || (may_have_further && max != GrammarBuilder::kUnlimited)))
    wrong_schema(where, "minProperties and maxProperties only where no properties are named, or where they say nothing",
                 "bounds on the named properties");

  // before(i): nothing is written yet, property i is next to decide on; item(i): it is written; after(i): the one
  // before i was; comma(i): a comma too, so one of i and later ones follows.
  GrammarBuilder::Graph graph;
  const auto n = static_cast<uint32_t>(properties.size());
  const auto before = [](uint32_t i) { return 4 * i; };
  const auto item = [](uint32_t i) { return 4 * i + 1; };
  const auto after = [](uint32_t i) { return 4 * i + 2; };
  const auto comma = [](uint32_t i) { return 4 * i + 3; };
  graph.states = 4 * (n + 1);
  const ExprId separator = b_.sequence({b_.literal(","), json_.space()});
  bool may_end = true;  // all properties from i on are optional
  for (uint32_t i = n + 1; i-- > 0;) {
    graph.add(after(i), comma(i), separator);
    if (i < n) {
      const Property& p = properties[i];
      const ExprId member = json_.member(json_.scalar_text(json::value(p.name)), p.value);
      graph.add(before(i), item(i));
      graph.add(comma(i), item(i));
      graph.add(item(i), after(i + 1), b_.sequence({member, json_.space()}));
      may_end = may_end && !p.required;
      if (!p.required) graph.add(before(i), before(i + 1)), graph.add(comma(i), comma(i + 1));
    }
    if (may_end) graph.accepting.push_back(after(i));
  }
  graph.accepting.push_back(before(n));
  if (may_have_further) {
    const ExprId member = json_.member(string_other_than(names), further_value);
    graph.add(before(n), comma(n));
    graph.add(comma(n), after(n), b_.sequence({member, json_.space()}));
  }
  return b_.sequence({b_.literal("{"), json_.space(), b_.graph(std::move(graph)), b_.literal("}")});
}

// Any string but those of `names`: a tree of the names, which a string leaves with the first character that is not on
// it, or by ending where no name ends. On the tree a character has its shortest spelling only, since another one could
// spell a name.
ExprId SchemaCompiler::string_other_than(const std::vector<std::string>& names) {
  struct Node {
    std::map<char32_t, uint32_t> next;
    bool name = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string& name : names) {
    uint32_t at = 0;
    for (size_t i = 0; i < name.size();) {
      const Utf8Char c = decode_valid_utf8(name.data() + i);
      i += c.size;
      const auto found = nodes[at].next.find(c.code_point);
      if (found != nodes[at].next.end()) {
        at = found->second;
        continue;
      }
      const auto made = static_cast<uint32_t>(nodes.size());
      nodes[at].next[c.code_point] = made;
      nodes.emplace_back();
      at = made;
    }
    nodes[at].name = true;
  }
  GrammarBuilder::Graph graph;
  graph.states = static_cast<uint32_t>(nodes.size() + 1);
  const uint32_t free = graph.states - 1;
  for (uint32_t at = 0; at < nodes.size(); ++at) {
    std::vector<CharRange> on_tree;
    for (const auto& [c, next] : nodes[at].next) {
      on_tree.push_back({c, c});
      graph.add(at, next, json_.one_of({{c, c}}));
    }
    graph.add(at, free, json_.one_of(complement(std::move(on_tree))));
    if (!nodes[at].name) graph.accepting.push_back(at);
  }
  graph.add(free, free, json_.string_char());
  graph.accepting.push_back(free);
  return json_.quoted(b_.graph(std::move(graph)));
}

ExprId SchemaCompiler::array(const json::object& o, const std::string& where) {
  std::vector<ExprId> prefix;
  if (const json::value* list = o.if_contains("prefixItems")) {
    const std::string there = pointer_to(where, "prefixItems");
    if (!list->is_array()) wrong_schema(there, "a list of schemas", to_json(*list).substr(0, 100));
    for (const json::value& value : list->get_array())
      prefix.push_back(schema({&value, pointer_to(there, std::to_string(prefix.size()))}));
  }
  const json::value anything(true);
  const json::value* items = o.if_contains("items");
  const ExprId rest = schema({items ? items : &anything, pointer_to(where, "items")});
  const uint32_t min = count_of(o, "minItems", where).value_or(0);
  uint32_t max = count_of(o, "maxItems", where).value_or(GrammarBuilder::kUnlimited);
  if (items && items->is_bool() && !items->get_bool()) max = std::min(max, static_cast<uint32_t>(prefix.size()));
  if (min > max) return b_.choice({});
  if (min > kMostItems || (max > kMostItems && max != GrammarBuilder::kUnlimited))
    wrong_schema(where, cat("minItems and maxItems of at most ", kMostItems), "more");

  const bool unlimited = max == GrammarBuilder::kUnlimited;
  const uint32_t states = unlimited ? std::max({min, static_cast<uint32_t>(prefix.size()), 1u}) : max;
  GrammarBuilder::Graph graph;
  graph.states = states + 1;  // state i: i items are written
  const ExprId comma = b_.sequence({b_.literal(","), json_.space()});
  const auto add = [&](uint32_t from, uint32_t to) {
    const ExprId one = from < prefix.size() ? prefix[from] : rest;
    graph.add(from, to, from == 0 ? b_.sequence({one, json_.space()}) : b_.sequence({comma, one, json_.space()}));
  };
  for (uint32_t i = 0; i < states; ++i) add(i, i + 1);
  if (unlimited) add(states, states);
  for (uint32_t i = min; i <= states; ++i) graph.accepting.push_back(i);
  return b_.sequence({b_.literal("["), json_.space(), b_.graph(std::move(graph)), b_.literal("]")});
}

}  // namespace fathom
