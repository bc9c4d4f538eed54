// parse_gbnf, compile_regex, compile_choice and json_grammar: which texts they take, and what they refuse.
#include "sampling/grammar/grammar.h"

#include "base/error.h"
#include "sampling/grammar/grammar_fixture.h"
#include "tests/precompiled.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::matches;

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

void expect_language(const Grammar& grammar, std::vector<std::string> in, std::vector<std::string> out) {
  for (const std::string& text : in) EXPECT_TRUE(matches(grammar, text)) << text;
  for (const std::string& text : out) EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(Gbnf, LiteralsClassesRepetitionsAndRules) {
  expect_language(parse_gbnf("root ::= \"a\\n\\t\\\"\\\\\\x41\\u00e9\\U0001F600\""), {"a\n\t\"\\A\u00e9\U0001F600"},
                  {"", "a"});
  expect_language(parse_gbnf("root ::= [a-c]+ [^\"\\\\] . # all kinds"), {"abcde", "a\u00e9\U0001F600"},
                  {"ab", "a\"x"});
  expect_language(parse_gbnf("root ::= \"ab\"{2} \"c\"{1,} \"d\"{0,2} \"e\"{,1}"), {"ababc", "ababccdde"},
                  {"abc", "ababcddd", "ababcee"});
  expect_language(
      parse_gbnf("root ::= one-1 | (two\n | three)?\none-1 ::= \"1\"\ntwo ::=\n  \"2\" |\n\"22\"\nthree ::= \"3\""),
      {"", "1", "2", "22", "3"}, {"13", "4"});
  expect_language(parse_gbnf("root ::= [\\]a-]"), {"]", "-", "a"}, {"b"});
}

const char* const kArithmetic = R"gbnf(# sums and products
root   ::= (expr "=" ws term "\n")+
expr   ::= term ([-+*/] term)*
term   ::= ident | num | "(" ws expr ")" ws
ident  ::= [a-z] [a-z0-9_]* ws
num    ::= [0-9]+ ws
ws     ::= [ \t\n]*
)gbnf";

TEST(Gbnf, Arithmetic) {
  expect_language(parse_gbnf(kArithmetic), {"x=1\n", "(a+b2)*3 = y\n", "((((1))))=2\nz=3\n"},
                  {"x=1", "(a+b=1\n", "1a=2\n"});
}

TEST(Gbnf, ListAndChess) {
  expect_language(parse_gbnf("root ::= item+\nitem ::= \"- \" [^\\r\\n]+ \"\\n\""), {"- a\n", "- a\n- \u4e2d\n"},
                  {"", "- \n", "a\n"});
  expect_language(parse_gbnf(R"(root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")*
move ::= (pawn | nonpawn | castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBQKR])?
nonpawn ::= [NBQKR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?)"),
                  {"1. e4 e5\n", "1. e4 Nf6\n2. Nbxd2+ O-O-O\n"}, {"1. e9 e5\n", "2. e4 e5\n"});
}

TEST(Gbnf, RightRecursionAndAmbiguityStaySmall) {
  const Grammar list = parse_gbnf("root ::= \"a\" root | \"b\"");
  GrammarMatcher matcher(list);
  for (int i = 0; i < 20000; ++i) ASSERT_TRUE(matcher.accept("a"));
  EXPECT_TRUE(matcher.accept("b"));
  EXPECT_TRUE(matcher.must_finish());
  // Every bracketing of a sum, and the classic S = S S without left recursion: exponentially many readings.
  const Grammar ambiguous = parse_gbnf("root ::= \"a\" | \"a\" root root | \"a\" root root root");
  GrammarMatcher many(ambiguous);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(many.accept("a")) << i;
  EXPECT_TRUE(many.may_finish());
}

TEST(Gbnf, RefusalsNameRuleAndPlace) {
  const auto refused = [](std::string_view text) { return error_of([&] { parse_gbnf(text); }); };
  EXPECT_THAT(refused("root ::= \"a\" b"), AllOf(HasSubstr("line 1, column 14"), HasSubstr("undefined rule b")));
  EXPECT_THAT(refused("root ::= \"a\"\nroot ::= \"b\""), AllOf(HasSubstr("line 2"), HasSubstr("second")));
  EXPECT_THAT(refused("a ::= \"a\""), HasSubstr("root"));
  EXPECT_THAT(refused("root ::= \"a"), HasSubstr("rule root"));
  EXPECT_THAT(refused("root ::= [z-a]"), HasSubstr("z-a"));
  EXPECT_THAT(refused("root ::= \"\\q\""), HasSubstr("backslash"));
  EXPECT_THAT(refused("root ::= \"a\"{3,2}"), HasSubstr("m <= n"));
  EXPECT_THAT(refused("root ::= \"a\" )"), HasSubstr("line 1, column 14"));
  EXPECT_THAT(refused("root ::= (\"a\""), HasSubstr("')'"));
  EXPECT_THAT(refused("root ::= \"a\" root"), AllOf(HasSubstr("rule root"), HasSubstr("never finish")));
  EXPECT_THAT(refused("root ::= \"a\" | loop\nloop ::= \"x\" loop"), HasSubstr("rule loop"));
  EXPECT_THAT(refused("root ::= root \"a\" | \"b\""), HasSubstr("left recursion"));
  EXPECT_THAT(refused("root ::= e x | \"b\"\nx ::= e root \"c\" | \"d\"\ne ::= \"a\"*"), HasSubstr("left recursion"));
  EXPECT_THAT(refused("root ::= <think> \"a\""), HasSubstr("not supported"));
  EXPECT_THAT(refused("root ::= \"\xff\""), HasSubstr("UTF-8"));
}

TEST(GrammarAttacks, R3ExplosionAndEndlessNestingAreRefused) {
  const auto refused = [](const std::string& text) { return error_of([&] { parse_gbnf(text); }); };
  EXPECT_THAT(refused("root ::= ((((\"a\"{1000}){1000}){1000}){1000})"), HasSubstr("too large"));
  EXPECT_THAT(refused("root ::= \"a\"{1,4294967295}"), HasSubstr("repetitions"));
  EXPECT_THAT(refused("root ::= \"a\"{99999999999999999999}"), HasSubstr("repetitions"));
  EXPECT_THAT(refused("root ::= " + std::string(100000, '(')), HasSubstr("groups"));
  EXPECT_THAT(refused("root ::= \"a\"" + std::string(500000, '?')), HasSubstr("repetitions of one symbol"));
  EXPECT_THAT(refused("root ::= " + std::string(2 << 20, ' ')), HasSubstr("bytes"));
  // A thousand rules, each a caller of the next: no recursion of ours, and a depth that is just taken.
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 1000; ++i) chain += cat("r", i, " ::= \"(\" r", i + 1, " \")\" | r", i + 1, "\n");
  const Grammar grammar = parse_gbnf(chain + "r1000 ::= \"x\" r0 | \"y\"");
  EXPECT_TRUE(matches(grammar, "((xy))"));
}

TEST(GrammarAttacks, R5RegexesThatBacktrackElsewhere) {
  const Grammar grammar = compile_regex("(a+)+(b|a*)*c");
  GrammarMatcher matcher(grammar);
  EXPECT_TRUE(matcher.accept(std::string(100000, 'a')));
  EXPECT_FALSE(matcher.accept("d"));
  EXPECT_TRUE(matcher.accept("c"));
  EXPECT_THAT(error_of([] { compile_regex("(a|b)*a(a|b){30}"); }), HasSubstr("expected at most"));
  EXPECT_THAT(error_of([] { compile_regex("((a{1000}){1000}){1000}"); }), HasSubstr("too large"));
  EXPECT_THAT(error_of([] { compile_regex(std::string(50000, '(')); }), HasSubstr("groups"));
}

TEST(Regex, WhatIsRead) {
  expect_language(compile_regex(R"(\d{3}-[A-F\d]+(?:x|yz)?)"), {"123-A9", "123-0yz"}, {"12-A", "123-g", "123-Ay"});
  expect_language(compile_regex(R"(^(?<name>\w+?)\s\S$)"), {"ab c", "_\u00a0\u00e9"}, {"a", "ab c "});
  expect_language(compile_regex(R"([^a-c\n]|\u00e9|\.|a{2,}|{x})"), {"d", "\u00e9", ".", "aaa", "{x}"}, {"a", "\n"});
  expect_language(compile_regex("a|b|"), {"a", "b", ""}, {"ab"});
  expect_language(compile_regex("(^a|^b)c"), {"ac", "bc"}, {"c"});
}

TEST(Regex, RefusalsNameTheConstruct) {
  const auto refused = [](std::string_view text) { return error_of([&] { compile_regex(text); }); };
  for (const char* look : {"(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b"})
    EXPECT_THAT(refused(look), HasSubstr("look-around"));
  EXPECT_THAT(refused(R"((a)\1)"), HasSubstr("backreferences"));
  EXPECT_THAT(refused(R"((?<n>a)\k<n>)"), HasSubstr("backreferences"));
  EXPECT_THAT(refused(R"(\bword)"), HasSubstr("\\b"));
  EXPECT_THAT(refused(R"(\p{L})"), HasSubstr("\\p"));
  EXPECT_THAT(refused("(?i)a"), HasSubstr("(?i"));
  EXPECT_THAT(refused("a^b"), HasSubstr("within"));
  EXPECT_THAT(refused("(a$|b)c"), HasSubstr("anchor"));
  EXPECT_THAT(refused("a$b"), HasSubstr("behind $"));
  EXPECT_THAT(refused("a**"), HasSubstr("repeat"));
  EXPECT_THAT(refused("a*+"), HasSubstr("possessive"));
  EXPECT_THAT(refused("*a"), HasSubstr("repeat"));
  for (const char* broken : {"(a", "a)", "[a", "\\", "a{3,2}", "[z-a]", "\\q", "\\u12", "[\\d-z]"})
    EXPECT_THAT(refused(broken), HasSubstr("expected")) << broken;
  EXPECT_THAT(refused("[]"), HasSubstr("never finish"));
}

TEST(Choice, OneOfThem) {
  const std::vector<std::string> choices{"yes", "no", "\u00fcber", "yesterday"};
  expect_language(compile_choice(choices), choices, {"", "ye", "yesno"});
  EXPECT_THAT(error_of([] { compile_choice({}); }), HasSubstr("at least one"));
}

TEST(JsonGrammar, AnObjectWithAnyJsonInside) {
  expect_language(
      json_grammar(),
      {"{}", R"({"a":1})", R"({ "a" : [ 1, -2.5e+10, "x\n\u00e9\ud83d\ude00", true,false,null, {"b":{}} ] })",
       "{\n    \"a\": [\n        1,\n        2\n    ]\n}", "{\"\u4e2d\":\"\U0001F600\"}"},
      {"", "[]", "1", "{a:1}", R"({"a":1,})", R"({"a":01})", R"({"a":.5})", R"({"a":"\x"})", "{\"a\":\"\n\"}",
       R"({"a":"\ud83d"})", R"({"a":"\ude00"})", R"({"a":tru})", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
       "{\"a\":\"\xed\xa0\x80\"}", "{" + std::string(100, ' ') + "}", R"({"a":1}})"});
}

TEST(JsonGrammar, NestingIsBoundedByThePushdownAlone) {
  GrammarMatcher matcher(json_grammar());
  std::string open = "{\"a\":", close = "1}";
  for (int i = 0; i < 10000; ++i) open += "[", close = "]" + close;
  ASSERT_TRUE(matcher.accept(open));
  EXPECT_TRUE(matcher.accept("1"));
  EXPECT_FALSE(matcher.accept("}"));
  EXPECT_TRUE(matcher.accept(std::string(10000, ']') + "}"));
  EXPECT_TRUE(matcher.must_finish());
}

}  // namespace
}  // namespace fathom
