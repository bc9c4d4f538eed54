// The expression half of the parser, and the token stream that both halves read. Only parser.cc uses it.
#pragma once
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace fathom::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  static constexpr int kMaxDepth = 100;  // of nested brackets and of nested statements
  static constexpr int kMaxTree = 200;   // of the tree: a + b + c + ... is a deep one

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is(TokenType type, std::string_view text) const { return now().type == type && now().text == text; }
  bool is_op(std::string_view op) const { return is(TokenType::kOperator, op); }
  bool is_name(std::string_view name) const { return is(TokenType::kName, name); }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  Token take();
  void expect_op(std::string_view op);
  std::string expect_name(std::string_view what);
  [[noreturn]] void fail(std::string_view expected) const;

  /// One expression; a comma makes it a tuple. Without `conditional`, "if" ends it.
  ExprPtr tuple(bool conditional = true);
  ExprPtr expression();
  /// The filters behind a block's name; args[0] of the innermost is null.
  ExprPtr filter_chain(ExprPtr input);
  void call_arguments(Expr& call);
  ExprPtr finished(ExprPtr expr) const;  // sets depth

  struct Nested {  // counts how deep the parser is inside brackets and blocks
    explicit Nested(ExpressionParser& p);
    ~Nested() { --parser.depth_; }
    ExpressionParser& parser;
  };

  std::set<std::string, std::less<>> names_;

 private:
  ExprPtr make(ExprKind kind, std::string name = "") const;
  ExprPtr binary(ExprKind kind, std::string name, ExprPtr a, ExprPtr b) const;
  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter = true);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr number();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr expr);
  ExprPtr filters_and_tests(ExprPtr expr);
  ExprPtr filter(ExprPtr input);
  ExprPtr test(ExprPtr subject);
  ExprPtr call(ExprPtr callee);
  ExprPtr member(ExprPtr object);
  ExprPtr index(ExprPtr object);
  bool tuple_ends() const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace fathom::jinja
