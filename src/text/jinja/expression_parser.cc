#include "text/jinja/expression_parser.h"

#include <charconv>
#include <optional>

#include "base/error.h"

namespace fathom::jinja {

ExpressionParser::Nested::Nested(ExpressionParser& p) : parser(p) {
  if (p.depth_ >= kMaxDepth) p.fail(cat("nesting of at most ", kMaxDepth, " levels"));
  ++p.depth_;
}

bool ExpressionParser::skip_op(std::string_view op) {
  if (!is_op(op)) return false;
  ++at_;
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  ++at_;
  return true;
}

Token ExpressionParser::take() {
  Token token = now();
  if (token.type != TokenType::kEnd) ++at_;
  return token;
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail(op);
}

std::string ExpressionParser::expect_name(std::string_view what) {
  if (now().type != TokenType::kName) fail(what);
  return take().text;
}

void ExpressionParser::fail(std::string_view expected) const {
  const std::string found = now().type == TokenType::kEnd    ? "the end of the template"
                            : now().type == TokenType::kData ? "template text"
                                                             : now().text.substr(0, 40);
  throw Error(cat("chat template, line ", now().line, ": expected ", expected, ", found ", found));
}

ExprPtr ExpressionParser::make(ExprKind kind, std::string name) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = now().line;
  expr->name = std::move(name);
  return expr;
}

ExprPtr ExpressionParser::finished(ExprPtr expr) const {
  const auto under = [&](const ExprPtr& child) {
    if (child) expr->depth = std::max(expr->depth, child->depth + 1);
  };
  for (const ExprPtr& arg : expr->args) under(arg);
  for (const auto& [name, arg] : expr->named) under(arg);
  under(expr->star), under(expr->star_star);
  if (expr->depth > kMaxTree) fail(cat("an expression of at most ", kMaxTree, " chained operations"));
  return expr;
}

ExprPtr ExpressionParser::binary(ExprKind kind, std::string name, ExprPtr a, ExprPtr b) const {
  ExprPtr expr = make(kind, std::move(name));
  expr->args.push_back(std::move(a));
  expr->args.push_back(std::move(b));
  return finished(std::move(expr));
}

bool ExpressionParser::tuple_ends() const {
  return now().type == TokenType::kVariableEnd || now().type == TokenType::kBlockEnd || is_op(")") ||
         is_name("recursive");
}

ExprPtr ExpressionParser::tuple(bool conditional) {
  const Nested nested(*this);
  ExprPtr first = conditional ? expression() : either();
  if (!is_op(",")) return first;
  ExprPtr expr = make(ExprKind::kTuple);
  expr->args.push_back(std::move(first));
  while (skip_op(",") && !tuple_ends()) expr->args.push_back(conditional ? expression() : either());
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::expression() {
  const Nested nested(*this);
  ExprPtr value = either();
  while (skip_name("if")) {
    ExprPtr expr = make(ExprKind::kConditional);
    expr->args.push_back(either());
    expr->args.push_back(std::move(value));
    expr->args.push_back(skip_name("else") ? expression() : nullptr);
    value = finished(std::move(expr));
  }
  return value;
}

ExprPtr ExpressionParser::either() {
  ExprPtr left = both();
  while (skip_name("or")) left = binary(ExprKind::kOr, "or", std::move(left), both());
  return left;
}

ExprPtr ExpressionParser::both() {
  ExprPtr left = negation();
  while (skip_name("and")) left = binary(ExprKind::kAnd, "and", std::move(left), negation());
  return left;
}

ExprPtr ExpressionParser::negation() {
  if (!skip_name("not")) return comparison();
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::kUnary, "not");
  expr->args.push_back(negation());
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  ExprPtr expr;
  for (;;) {
    std::string op;
    if (now().type == TokenType::kOperator)
      for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="})
        if (now().text == known) op = known;
    if (is_name("in")) op = "in";
    if (is_name("not") && ahead().type == TokenType::kName && ahead().text == "in") {
      take();
      op = "not in";
    }
    if (op.empty()) return expr ? finished(std::move(expr)) : std::move(first);
    take();
    if (!expr) {
      expr = make(ExprKind::kCompare);
      expr->args.push_back(std::move(first));
    }
    expr->ops.push_back(op);
    expr->args.push_back(sum());
  }
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (is_op("+") || is_op("-")) {
    std::string op = take().text;
    left = binary(ExprKind::kBinary, std::move(op), std::move(left), concatenation());
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!is_op("~")) return first;
  ExprPtr expr = make(ExprKind::kConcat);
  expr->args.push_back(std::move(first));
  while (skip_op("~")) expr->args.push_back(product());
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    std::string op = take().text;
    left = binary(ExprKind::kBinary, std::move(op), std::move(left), power());
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary();
  while (skip_op("**")) left = binary(ExprKind::kBinary, "**", std::move(left), unary());
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filter) {
  ExprPtr expr;
  if (is_op("-") || is_op("+")) {
    const Nested nested(*this);
    expr = make(ExprKind::kUnary, take().text);
    expr->args.push_back(unary(false));
    expr = finished(std::move(expr));
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  return with_filter ? filters_and_tests(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::primary() {
  switch (now().type) {
    case TokenType::kName: return name_or_constant();
    case TokenType::kInteger:
    case TokenType::kFloat: return number();
    case TokenType::kString: {
      ExprPtr expr = make(ExprKind::kConstant);
      std::string text;
      while (now().type == TokenType::kString) text += take().text;
      expr->constant = Value::text(std::move(text));
      return expr;
    }
    default: break;
  }
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  if (!skip_op("(")) fail("an expression");
  if (skip_op(")")) return make(ExprKind::kTuple);
  ExprPtr expr = tuple();
  expect_op(")");
  return expr;
}

ExprPtr ExpressionParser::name_or_constant() {
  ExprPtr expr = make(ExprKind::kConstant);
  const Token token = take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") {
    expr->constant = Value::boolean(true);
  } else if (name == "false" || name == "False") {
    expr->constant = Value::boolean(false);
  } else if (name == "none" || name == "None") {
    expr->constant = Value::none();
  } else {
    expr->kind = ExprKind::kName;
    expr->name = name;
    names_.insert(name);
  }
  return expr;
}

ExprPtr ExpressionParser::number() {
  ExprPtr expr = make(ExprKind::kConstant);
  const Token token = take();
  const char* end = token.text.data() + token.text.size();
  if (token.type == TokenType::kFloat) {
    double value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) fail("a number within the range of float");
    expr->constant = Value::number(value);
  } else {
    int64_t value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) fail("an integer of at most 64 bits");
    expr->constant = Value::integer(value);
  }
  return expr;
}

ExprPtr ExpressionParser::list() {
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::kList);
  expect_op("[");
  while (!is_op("]")) {
    expr->args.push_back(expression());
    if (!skip_op(",")) break;
  }
  expect_op("]");
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::dict() {
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::kDict);
  expect_op("{");
  while (!is_op("}")) {
    expr->args.push_back(expression());
    expect_op(":");
    expr->args.push_back(expression());
    if (!skip_op(",")) break;
  }
  expect_op("}");
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::postfix(ExprPtr expr) {
  for (;;) {
    if (is_op("."))
      expr = member(std::move(expr));
    else if (is_op("["))
      expr = index(std::move(expr));
    else if (is_op("("))
      expr = call(std::move(expr));
    else
      return expr;
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr expr) {
  for (;;) {
    if (is_op("|"))
      expr = filter_chain(std::move(expr));
    else if (skip_name("is"))
      expr = test(std::move(expr));
    else if (is_op("("))
      expr = call(std::move(expr));
    else
      return expr;
  }
}

ExprPtr ExpressionParser::filter_chain(ExprPtr input) {
  while (skip_op("|")) input = filter(std::move(input));
  return input;
}

ExprPtr ExpressionParser::filter(ExprPtr input) {
  ExprPtr expr = make(ExprKind::kFilter);
  expr->name = expect_name("the name of a filter");
  while (skip_op(".")) expr->name += "." + expect_name("the name of a filter");
  expr->args.push_back(std::move(input));
  if (is_op("(")) call_arguments(*expr);
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::test(ExprPtr subject) {
  const Nested nested(*this);
  const bool negated = skip_name("not");
  ExprPtr expr = make(ExprKind::kTest);
  expr->name = expect_name("the name of a test");
  while (skip_op(".")) expr->name += "." + expect_name("the name of a test");
  expr->args.push_back(std::move(subject));
  const TokenType next = now().type;
  const bool operand = next == TokenType::kString || next == TokenType::kInteger || next == TokenType::kFloat ||
                       is_op("[") || is_op("{") ||
                       (next == TokenType::kName && !is_name("else") && !is_name("or") && !is_name("and"));
  if (is_op("(")) {
    call_arguments(*expr);
  } else if (operand) {
    if (is_name("is")) fail("one test, not a chain of them");
    expr->args.push_back(postfix(primary()));
  }
  expr = finished(std::move(expr));
  if (!negated) return expr;
  ExprPtr inverse = make(ExprKind::kUnary, "not");
  inverse->args.push_back(std::move(expr));
  return finished(std::move(inverse));
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  ExprPtr expr = make(ExprKind::kCall);
  expr->args.push_back(std::move(callee));
  call_arguments(*expr);
  return finished(std::move(expr));
}

void ExpressionParser::call_arguments(Expr& call) {
  const Nested nested(*this);
  expect_op("(");
  while (!is_op(")")) {
    if (skip_op("**")) {
      call.star_star = expression();
    } else if (skip_op("*")) {
      call.star = expression();
    } else if (now().type == TokenType::kName && ahead().type == TokenType::kOperator && ahead().text == "=") {
      std::string name = take().text;
      take();
      call.named.emplace_back(std::move(name), expression());
    } else {
      if (!call.named.empty() || call.star_star) fail("a named argument after named arguments");
      call.args.push_back(expression());
    }
    if (!skip_op(",")) break;
  }
  expect_op(")");
}

ExprPtr ExpressionParser::member(ExprPtr object) {
  expect_op(".");
  if (now().type == TokenType::kInteger) return binary(ExprKind::kIndex, "", std::move(object), number());
  ExprPtr expr = make(ExprKind::kAttribute);
  expr->name = expect_name("the name of an attribute");
  expr->args.push_back(std::move(object));
  return finished(std::move(expr));
}

ExprPtr ExpressionParser::index(ExprPtr object) {
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::kIndex);
  expect_op("[");
  expr->args.push_back(std::move(object));
  const auto part = [&] { return is_op(":") || is_op("]") ? nullptr : expression(); };
  ExprPtr first = part();
  if (is_op(":")) {
    expr->kind = ExprKind::kSlice;
    expr->args.push_back(std::move(first));
    for (int i = 0; i < 2; ++i) expr->args.push_back(skip_op(":") ? part() : nullptr);
  } else {
    if (!first) fail("an index");
    expr->args.push_back(std::move(first));
  }
  expect_op("]");
  return finished(std::move(expr));
}

}  // namespace fathom::jinja
