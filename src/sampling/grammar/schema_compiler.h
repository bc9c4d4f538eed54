// The parts of compile_json_schema(): one compiler per schema. json_schema.cc has references, combinations and types,
// schema_objects.cc objects and arrays, schema_strings.cc strings, schema_numbers.cc numbers. One thread at a time.
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sampling/grammar/grammar_builder.h"
#include "sampling/grammar/json_rules.h"
#include "sampling/grammar/json_schema.h"
#include "sampling/grammar/schema_merge.h"

namespace fathom {

/// A schema and its JSON pointer, for messages.
struct SchemaAt {
  const json::value* value;
  std::string where;
};

class SchemaCompiler {
 public:
  SchemaCompiler(const json::value& root, SchemaOptions options) : root_(root), options_(options) {}
  Grammar run();

 private:
  // ---- json_schema.cc
  ExprId schema(const SchemaAt& at);               // as part of a rule; objects and arrays get rules of their own
  ExprId body(const SchemaAt& at, bool own_rule);  // own_rule: it is all of a rule
  ExprId keep(json::value made, const std::string& where, bool own_rule);
  ExprId branches(const SchemaAt& at, std::string_view keyword);
  ExprId enumerated(const SchemaAt& at);
  ExprId typed(const SchemaAt& at, std::string_view type, bool own_rule);
  ExprId later(const json::value& value, std::string_view type, const std::string& where);
  const json::value& target(const json::value& ref, const std::string& where) const;
  json::value merged(const json::value& a, const json::value& b, const std::string& where);
  json::value all_of(const json::object& object, const std::string& where, int depth);
  json::value resolved(const json::value& value, const std::string& where, int depth);
  void check_keywords(const json::object& object, const std::string& where) const;
  void visit(const std::string& where);

  // ---- schema_objects.cc
  ExprId object(const json::object& o, const std::string& where);
  ExprId array(const json::object& o, const std::string& where);

  // ---- schema_strings.cc
  ExprId string(const json::object& o, const std::string& where);
  ExprId string_other_than(const std::vector<std::string>& names);
  ExprId counted_char();

  // ---- schema_numbers.cc
  ExprId number(const json::object& o, const std::string& where, bool integer);

  const json::value& root_;
  SchemaOptions options_;
  GrammarBuilder b_;
  JsonRules json_{b_};
  struct Waiting {
    RuleId rule;
    SchemaAt at;
    std::string type;  // empty: the whole schema
  };
  std::deque<Waiting> waiting_;
  std::map<std::pair<const json::value*, std::string>, RuleId> rules_;
  std::deque<json::value> made_;  // by merging; they stay where they are
  size_t visited_ = 0, merged_ = 0;
  int depth_ = 0;
  std::optional<RuleId> other_char_;
};

}  // namespace fathom
