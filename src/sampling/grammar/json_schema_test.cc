// compile_json_schema: which documents of a schema are taken, keyword by keyword, and what is refused.
#include "sampling/grammar/json_schema.h"

#include "base/error.h"
#include "sampling/grammar/grammar_fixture.h"
#include "tests/precompiled.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::matches;

void expect_documents(std::string_view schema, const std::vector<std::string>& in, const std::vector<std::string>& out,
                      SchemaOptions options = {}) {
  SCOPED_TRACE(schema);
  const Grammar grammar = compile_json_schema(parse_json(schema, "schema"), options);
  for (const std::string& text : in) EXPECT_TRUE(matches(grammar, text)) << text;
  for (const std::string& text : out) EXPECT_FALSE(matches(grammar, text)) << text;
}

std::string refused_value(const json::value& schema) {
  try {
    compile_json_schema(schema);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
std::string refused(std::string_view schema) { return refused_value(parse_json(schema, "schema")); }

TEST(JsonSchema, Types) {
  expect_documents(R"({"type":"boolean"})", {"true", "false", "\n true"}, {"1", "tru", "null"});
  expect_documents(R"({"type":["string","null"]})", {"null", "\"\"", R"("\u0041\n")"}, {"1", "[]"});
  expect_documents(R"({"type":"integer","nullable":true})", {"0", "-12", "null", "-0"}, {"1.0", "01", "1e3", "\"1\""});
  expect_documents(R"({"type":"number"})", {"0", "-1.50e-3", "1E9"}, {".5", "1.", "+1"});
  expect_documents("true", {"[1,{}]", "null"}, {"", "x"});
  expect_documents(R"({"title":"anything","x-own":1})", {"[1,{}]", "null"}, {"", "[1"});
}

TEST(JsonSchema, ObjectsHaveTheirPropertiesInOrder) {
  const char* strict =
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"type":"null"}},
                           "required":["b"],"additionalProperties":false})";
  expect_documents(strict,
                   {R"({"a":1,"b":true,"c":null})", R"({"b":false})", R"({ "b" : true , "c" : null })",
                    "{\n  \"a\": 1,\n  \"b\": true\n}"},
                   {"{}", R"({"a":1})", R"({"b":true,"a":1})", R"({"b":true,"d":1})", R"({"b":true,})",
                    R"({,"b":true})", R"({"b":true "c":null})", R"({"b":1})"});
  expect_documents(
      R"({"properties":{"ab":{"type":"integer"},"a\"":{}},"required":["z"]})",
      {R"({"z":1})", R"({"ab":1,"a\"":[],"z":"x","more":null,"a":1,"abc":2,"é":3,"z1":0})"},
      {"{}", R"({"ab":"no","z":1})", R"({"z":1,"ab":"no"})", R"({"z":1,"\u0061b":"no"})", R"({"z":1,"z":2})"});
  expect_documents(R"({"properties":{"a":{}},"additionalProperties":{"type":"integer"}})",
                   {"{}", R"({"a":"x","b":1})", R"({"b":1,"c":2})"}, {R"({"b":"x"})", R"({"b":1,"a":2})"});
  expect_documents(R"({"properties":{"a":{}}})", {"{}", R"({"a":1})"}, {R"({"b":1})"},
                   {.additional_properties = false});
  expect_documents(R"({"type":"object","minProperties":1,"maxProperties":2})", {R"({"x":1})", R"({"x":1,"y":2})"},
                   {"{}", R"({"x":1,"y":2,"z":3})", "1"});
  // A property that nothing can have is left out, or makes the whole impossible.
  expect_documents(R"({"type":"object","properties":{"a":false,"b":{}},"additionalProperties":false})",
                   {"{}", R"({"b":1})"}, {R"({"a":1})"});
}

TEST(JsonSchema, Arrays) {
  expect_documents(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
                   {"[1]", "[1,2]", "[ 1 ,\n2, 3 ]"}, {"[]", "[1,2,3,4]", "[\"a\"]", "[1,]", "[1 2]"});
  expect_documents(R"({"items":{"type":"integer"}})", {"[]", "[1,2,3,4,5]"}, {"[null]", "{}"});
  expect_documents(R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
                   {"[]", "[1]", R"([1,"a"])"}, {R"(["a"])", R"([1,"a",2])"});
  expect_documents(R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":3})",
                   {"[1,null,null]", "[1,null,null,null]"}, {"[1,null]", "[null,null,null]"});
  expect_documents(R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"});
}

TEST(JsonSchema, EnumsAndConstants) {
  expect_documents(R"({"enum":["a","é\"",1,2.5,null,[1,"x"],{"k":[]}]})",
                   {"\"a\"", R"("é\"")", "1", "2.5", "null", R"([1, "x"])", R"({"k": []})"},
                   {"2", "\"b\"", "[1]", "{}"});
  expect_documents(R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"});
  expect_documents(R"({"const":{"a":1}})", {R"({ "a" : 1 })"}, {R"({"a":2})"});
  expect_documents(R"({"type":"number","const":3})", {"3"}, {"4"});
}

TEST(JsonSchema, Combinations) {
  expect_documents(R"({"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"null"}}]})", {"1", "[null]"},
                   {"[1]", "null"});
  expect_documents(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{}},"additionalProperties":false,
                       "oneOf":[{"required":["a"]},{"required":["b"]}]})",
                   {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":2})"}, {"{}", R"({"a":"x"})"});
  expect_documents(
      R"({"allOf":[{"$ref":"#/$defs/named"},{"properties":{"age":{"type":"integer","maximum":9}},"required":["age"]}],
                       "$defs":{"named":{"type":"object","properties":{"name":{"type":"string"},"age":{"minimum":5,"type":"number"}},"required":["name"]}}})",
      {R"({"name":"x","age":5})", R"({"name":"x","age":9,"more":1})"},
      {R"({"name":"x"})", R"({"name":"x","age":4})", R"({"name":"x","age":10})", R"({"age":5})"});
  expect_documents(R"({"allOf":[{"type":["string","integer"]},{"type":["number","null"]},{"minimum":3}]})", {"3"},
                   {"2", "null", "\"a\"", "3.5"});
  expect_documents(
      R"({"$ref":"#/$defs/s","maxLength":2,"description":"x","$defs":{"s":{"type":"string","minLength":1}}})",
      {"\"a\"", "\"ab\""}, {"\"\"", "\"abc\""});
}

TEST(JsonSchema, ReferencesRecur) {
  expect_documents(
      R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
                       "required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/node"})",
      {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
      {R"({"v":1})", R"({"v":1,"next":{"v":2}})"});
  expect_documents(R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]", "[[]"});
  expect_documents(R"({"properties":{"a/b~":{"type":"integer"},"c":{"$ref":"#/properties/a~1b~0"}}})", {R"({"c":1})"},
                   {R"({"c":"x"})"});
  expect_documents(R"({"anyOf":[{"type":"null"},{"$ref":"#/anyOf/0"}]})", {"null"}, {"1"});
}

TEST(JsonSchema, Strings) {
  expect_documents(R"({"type":"string","minLength":2,"maxLength":3})",
                   {"\"ab\"", "\"abc\"", "\"\u00e9\u4e2d\U0001F600\"", R"("\n\u00e9")", R"("\ud83d\ude00xy")"},
                   {"\"a\"", "\"abcd\"", "\"\U0001F600\"", R"("\ud83d\ude00")", R"("\ud83dx")"});
  expect_documents(R"({"type":"string","minLength":1})", {"\"a\"", "\"abcdef\\n\""}, {"\"\""});
  expect_documents(R"s({"type":"string","pattern":"^[A-Z]{2}\\d+$"})s", {"\"AB1\""},
                   {"\"AB\"", "\"xAB1\"", "\"AB1x\""});
  expect_documents(R"({"pattern":"b+"})", {"\"b\"", "\"abc\"", R"("\nb\"")"}, {"\"\"", "\"ac\"", "1"});
  expect_documents(R"({"pattern":"^a[\"\\n]?.$"})", {R"("a\"x")", R"("a\nx")", "\"ay\""},
                   {"\"a\"x\"", "\"a\nx\"", R"("a\n")"});
}

TEST(JsonSchema, Formats) {
  const auto format = [](const char* name, std::vector<std::string> in, std::vector<std::string> out) {
    for (auto* list : {&in, &out})
      for (std::string& text : *list) text = "\"" + text + "\"";
    expect_documents(cat("{\"type\":\"string\",\"format\":\"", name, "\"}"), in, out);
  };
  format("date", {"2024-02-29", "1999-12-31", "2000-02-29"},
         {"2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31", "24-01-01"});
  format("time", {"23:59:59Z", "00:00:00.123+05:30"}, {"24:00:00Z", "12:00Z", "12:00:00"});
  format("date-time", {"2024-02-29T12:00:00Z"}, {"2024-02-29 12:00:00Z", "2024-02-29"});
  format("email", {"a.b+c@example.org"}, {"a@", "@b.c", "a b@c.d", "a..b@c.d"});
  format("hostname", {"a-1.example", "localhost"}, {"-a", "a-", "a..b", ""});
  format("ipv4", {"0.0.0.0", "255.249.199.99"}, {"256.0.0.0", "1.2.3", "01.2.3.4"});
  format("ipv6",
         {"::", "::1", "1::", "fe80::1:2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "::ffff:1.2.3.4", "1::3:4:5:6:7:8",
          "1:2:3:4:5:6:7::"},
         {":", ":::", "1:2:3", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:1.2.3.4",
          "12345::", "1:2:3:4:5:6:7:8::", "::1.2.3"});
  format("uuid", {"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567e89b12d3a456426614174000"});
  format("uri", {"https://example.org/a?b=%20#c", "mailto:x@y"}, {"no uri", "//x", "http:%zz"});
  format("unknown-format", {"anything"}, {});
}

TEST(JsonSchema, IntegerBoundsAreExact) {
  const std::vector<std::pair<int, int>> ranges{{0, 0},    {-3, 12},  {7, 105}, {-120, -9},
                                                {1, 1000}, {99, 101}, {-5, 0},  {10, 99}};
  for (const auto& [lo, hi] : ranges) {
    const Grammar both = compile_json_schema({{"type", "integer"}, {"minimum", lo}, {"maximum", hi}});
    const Grammar above = compile_json_schema({{"type", "integer"}, {"exclusiveMinimum", lo - 0.5}});
    const Grammar below = compile_json_schema({{"type", "integer"}, {"exclusiveMaximum", hi + 1}});
    const Grammar even =
        compile_json_schema({{"type", "integer"}, {"minimum", lo}, {"maximum", hi}, {"multipleOf", 2}});
    for (int x = -1100; x <= 1100; ++x) {
      const std::string text = std::to_string(x);
      ASSERT_EQ(matches(both, text), lo <= x && x <= hi) << lo << " " << hi << " " << x;
      ASSERT_EQ(matches(above, text), lo <= x) << lo << " " << x;
      ASSERT_EQ(matches(below, text), x <= hi) << hi << " " << x;
      ASSERT_EQ(matches(even, text), lo <= x && x <= hi && x % 2 == 0) << lo << " " << hi << " " << x;
    }
  }
  const Grammar sevens = compile_json_schema({{"type", "integer"}, {"multipleOf", 7}});
  for (int x = -300; x <= 300; ++x) EXPECT_EQ(matches(sevens, std::to_string(x)), x % 7 == 0) << x;
}

TEST(JsonSchema, NumberBoundsAreExact) {
  struct Case {
    double lo, hi;
    bool open;
  };
  for (const Case& c :
       {Case{0, 1, false}, Case{0, 1, true}, Case{-1.25, 3.5, true}, Case{0.05, 0.5, false}, Case{2.5, 2.75, true},
        Case{-3.5, -0.25, false}, Case{-2, 0, true}, Case{9.5, 120.25, false}, Case{0.25, 0.25, false}}) {
    const Grammar grammar = compile_json_schema({{"type", "number"},
                                                 {c.open ? "exclusiveMinimum" : "minimum", c.lo},
                                                 {c.open ? "exclusiveMaximum" : "maximum", c.hi}});
    for (int cents = -500; cents <= 12500; cents += cents < 500 ? 1 : 25) {
      const double x = cents / 100.0;
      const bool in = c.open ? c.lo < x && x < c.hi : c.lo <= x && x <= c.hi;
      char text[32];
      for (const char* form : {"%.2f", "%.5f"}) {
        std::snprintf(text, sizeof text, form, x);
        ASSERT_EQ(matches(grammar, text), in) << c.lo << " " << c.hi << " " << text;
      }
      if (cents % 100 != 0) continue;
      ASSERT_EQ(matches(grammar, std::to_string(cents / 100)), in) << c.lo << " " << c.hi << " " << x;
    }
  }
  expect_documents(R"({"type":"number","multipleOf":0.01})", {"1", "-2.5", "0.25"}, {"0.255"});
  expect_documents(R"({"type":"number","minimum":0.5})", {"0.5", "0.50", "17.125", "1"}, {"0.49", "0", "-1", "5e-1"});
}

TEST(JsonSchema, RefusalsNameThePlace) {
  for (const char* keyword :
       {"not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas", "contains",
        "unevaluatedProperties", "propertyNames", "minContains", "$dynamicRef", "tpye"})
    EXPECT_THAT(refused(cat("{\"properties\":{\"a/b\":{\"", keyword, "\":{}}}}")),
                AllOf(HasSubstr(cat("#/properties/a~1b/", keyword)), HasSubstr("supported keyword")));
  EXPECT_THAT(refused(R"({"type":"array","uniqueItems":true})"), HasSubstr("#/uniqueItems"));
  EXPECT_THAT(refused(R"s({"type":"string","pattern":"(?=a)"})s"),
              AllOf(HasSubstr("#/pattern"), HasSubstr("look-around")));
  EXPECT_THAT(refused(R"s({"type":"string","pattern":"(a)\\1"})s"), HasSubstr("backreferences"));
  EXPECT_THAT(refused(R"({"type":"string","pattern":"a","maxLength":3})"),
              HasSubstr("one of pattern, format and lengths"));
  EXPECT_THAT(refused(R"({"type":"strin"})"), AllOf(HasSubstr("#/type"), HasSubstr("strin")));
  EXPECT_THAT(refused(R"({"$ref":"http://example.org/schema"})"), HasSubstr("within this schema"));
  EXPECT_THAT(refused(R"({"$ref":"#/$defs/none"})"), HasSubstr("that is there"));
  EXPECT_THAT(refused(R"({"type":"string","minLength":-1})"), HasSubstr("#/minLength"));
  EXPECT_THAT(refused(R"({"type":"array","minItems":1.5})"), HasSubstr("#/minItems"));
  EXPECT_THAT(refused(R"({"type":"number","minimum":"1"})"), HasSubstr("#/minimum"));
  EXPECT_THAT(refused(R"({"type":"number","minimum":1e300})"), HasSubstr("1e15"));
  EXPECT_THAT(refused(R"({"type":"integer","multipleOf":0})"), HasSubstr("positive"));
  EXPECT_THAT(refused(R"({"enum":["a"],"minLength":2})"), HasSubstr("beside enum"));
  EXPECT_THAT(refused("[]"), HasSubstr("an object, true or false"));
  EXPECT_THAT(refused(R"({"properties":[]})"), HasSubstr("#/properties"));
  EXPECT_THAT(refused(R"({"anyOf":[]})"), HasSubstr("#/anyOf"));
}

TEST(JsonSchema, WhatNothingSatisfiesIsRefused) {
  for (const char* schema :
       {"false", R"({"type":"integer","minimum":3,"maximum":2})", R"({"enum":[]})", R"({"type":"string","const":1})",
        R"({"type":"array","minItems":2,"maxItems":1})", R"({"allOf":[{"type":"string"},{"type":"integer"}]})",
        R"({"type":"object","properties":{"me":{"$ref":"#"}},"required":["me"]})",
        R"({"type":"array","items":{"$ref":"#"},"minItems":1})", R"({"$ref":"#"})",
        R"({"type":"object","required":["a"],"additionalProperties":false})"})
    EXPECT_THAT(refused(schema), HasSubstr("finite document")) << schema;
}

TEST(GrammarAttacks, R3SchemasThatExplodeOrNestWithoutEnd) {
  // 10^5 levels, which Boost.JSON would not even free: kept in memory that is dropped at once.
  json::monotonic_resource memory;
  json::value deep(true, &memory);
  for (int i = 0; i < 100000; ++i) {
    json::object level(&memory);
    level["items"] = std::move(deep);
    deep = std::move(level);
  }
  EXPECT_THAT(refused_value(deep), HasSubstr("levels"));
  json::array numbers;
  for (int i = 0; i < 20000; ++i) numbers.emplace_back(i);
  json::array others = numbers;
  others.emplace_back("one more");
  const json::value merged{{"allOf", json::array{json::object{{"enum", numbers}}, json::object{{"enum", others}}}}};
  EXPECT_THAT(refused_value(merged), HasSubstr("shorter lists"));
  const auto doubling = [](const char* keyword) {
    json::object defs;
    for (int i = 0; i < 40; ++i) {
      const json::value next{{"$ref", cat("#/$defs/d", i + 1)}};
      defs[cat("d", i)] = {{keyword, json::array{next, next}}};
    }
    defs["d40"] = {{"type", "string"}};
    return json::value{{"$ref", "#/$defs/d0"}, {"$defs", defs}};
  };
  EXPECT_THAT(refused_value(doubling("allOf")), HasSubstr("in all"));
  EXPECT_EQ(refused_value(doubling("anyOf")), "no error");  // each definition is one rule
  EXPECT_THAT(refused(R"({"allOf":[{"$ref":"#"}]})"), HasSubstr("come to an end"));
  EXPECT_THAT(refused(R"({"type":"array","minItems":1000000000})"), HasSubstr("at most"));
  EXPECT_THAT(refused(R"({"type":"string","minLength":2147483648})"), HasSubstr("at most"));
  EXPECT_THAT(
      refused(
          R"({"type":"array","items":{"type":"array","items":{"type":"array","maxItems":99999},"maxItems":99999},"minItems":99999})"),
      HasSubstr("too large"));
  json::array many;
  for (int i = 0; i < 60000; ++i) many.emplace_back(cat("a value of some length, number ", i));
  EXPECT_THAT(refused_value(json::value{{"enum", many}}), HasSubstr("at most"));
  json::object wide;
  for (int i = 0; i < 300; ++i) wide[cat("p", i)] = {{"type", "string"}};
  const std::string error = refused_value(json::value{{"type", "object"}, {"properties", wide}});
  EXPECT_TRUE(error == "no error" || error.find("expected") != std::string::npos) << error;
}

TEST(GrammarAttacks, R5PatternsThatBacktrackElsewhere) {
  const Grammar grammar = compile_json_schema({{"type", "string"}, {"pattern", "^(([a-z])+.)+[A-Z]([a-z])+$"}});
  GrammarMatcher matcher(grammar);
  EXPECT_TRUE(matcher.accept("\"" + std::string(20000, 'a')));
  EXPECT_FALSE(matcher.may_finish());
  EXPECT_THAT(refused(R"s({"pattern":"(x+x+)+y{100000}{100000}"})s"), HasSubstr("repeat"));
  EXPECT_THAT(refused(R"s({"pattern":"(a|b)*a(a|b){40}$"})s"), HasSubstr("explodes"));
}

}  // namespace
}  // namespace fathom
