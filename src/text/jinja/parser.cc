#include "text/jinja/parser.h"

#include "base/error.h"
#include "text/jinja/expression_parser.h"

namespace fathom::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Template run() {
    Template out;
    out.body = block({});
    if (now().type != TokenType::kEnd) fail("the end of the template");
    out.names = std::move(names_);
    return out;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements until the template ends or a tag from `ends` is next, whose "{%" is then taken and whose name is not.
  Block block(Ends ends) {
    const Nested nested(*this);
    Block out;
    for (;;) {
      if (now().type == TokenType::kEnd) {
        if (ends.size()) fail(cat("{% ", *ends.begin(), " %}"));
        return out;
      }
      const Token token = take();
      if (token.type == TokenType::kData) {
        out.push_back({.kind = StmtKind::kText, .line = token.line, .text = token.text});
      } else if (token.type == TokenType::kVariableBegin) {
        out.push_back({.kind = StmtKind::kOutput, .line = token.line, .expr = tuple()});
        if (now().type != TokenType::kVariableEnd) fail("}}");
        take();
      } else {
        for (const std::string_view end : ends)
          if (is_name(end)) return out;
        out.push_back(statement());
      }
    }
  }

  void end_tag() {
    if (now().type != TokenType::kBlockEnd) fail("%}");
    take();
  }

  // The body of a block up to {% name %}, which is taken too.
  Block body_until(std::string_view name) {
    end_tag();
    Block out = block({name});
    take();
    end_tag();
    return out;
  }

  Stmt statement() {
    const int line = now().line;
    const std::string name = expect_name("the name of a statement");
    Stmt stmt = named_statement(name);
    stmt.line = line;
    return stmt;
  }

  Stmt named_statement(const std::string& name) {
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "call") return call_statement();
    if (name == "filter") return filter_statement();
    if (name == "with") return with_statement();
    if (name == "generation") return {.kind = StmtKind::kScope, .body = body_until("endgeneration")};
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(cat("a loop around {% ", name, " %}"));
      end_tag();
      return {.kind = name == "break" ? StmtKind::kBreak : StmtKind::kContinue};
    }
    throw Error(
        cat("chat template, line ", now().line, ": expected a statement such as if, for, set or macro, found ", name));
  }

  Stmt if_statement() {
    Stmt stmt{.kind = StmtKind::kIf, .expr = tuple(false)};
    end_tag();
    stmt.body = block({"endif", "else", "elif"});
    const int line = now().line;
    const std::string end = take().text;
    if (end == "elif") {
      const Nested nested(*this);  // each elif is one level deeper in the tree
      stmt.otherwise.push_back(if_statement());
      stmt.otherwise.back().line = line;
      return stmt;
    }
    if (end == "else")
      stmt.otherwise = body_until("endif");
    else
      end_tag();
    return stmt;
  }

  Target one_target(bool with_attribute) {
    if (skip_op("(")) {
      Target target = targets(with_attribute);
      expect_op(")");
      return target;
    }
    Target target{.name = expect_name("a variable name")};
    if (with_attribute && skip_op(".")) target.attribute = expect_name("the name of an attribute");
    return target;
  }

  Target targets(bool with_attribute) {
    const Nested nested(*this);
    Target first = one_target(with_attribute);
    if (!is_op(",")) return first;
    Target out;
    out.several.push_back(std::move(first));
    while (skip_op(",") && !is_name("in") && !is_op("=")) out.several.push_back(one_target(with_attribute));
    return out;
  }

  Stmt for_statement() {
    Stmt stmt{.kind = StmtKind::kFor, .target = targets(false)};
    if (!skip_name("in")) fail("in");
    stmt.expr = tuple(false);
    if (skip_name("if")) stmt.filter = expression();
    stmt.recursive = skip_name("recursive");
    end_tag();
    ++loops_;
    stmt.body = block({"endfor", "else"});
    --loops_;
    if (take().text == "else")
      stmt.otherwise = body_until("endfor");
    else
      end_tag();
    return stmt;
  }

  Stmt set_statement() {
    Stmt stmt{.kind = StmtKind::kSet, .target = targets(true)};
    if (skip_op("=")) {
      stmt.expr = tuple();
      end_tag();
      return stmt;
    }
    stmt.kind = StmtKind::kSetBlock;
    stmt.expr = filter_chain(nullptr);
    stmt.body = body_until("endset");
    return stmt;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> out;
    expect_op("(");
    while (!is_op(")")) {
      Parameter parameter{.name = expect_name("the name of a parameter")};
      if (skip_op("="))
        parameter.fallback = expression();
      else if (!out.empty() && out.back().fallback)
        fail("a default value, as the parameter before has one");
      out.push_back(std::move(parameter));
      if (!skip_op(",")) break;
    }
    expect_op(")");
    return out;
  }

  // The body of a macro cannot break out of a loop around it.
  Block closed_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block out = body_until(end);
    loops_ = loops;
    return out;
  }

  Stmt macro_statement() {
    Stmt stmt{.kind = StmtKind::kMacro, .text = expect_name("the name of the macro")};
    stmt.params = parameters();
    stmt.body = closed_body("endmacro");
    return stmt;
  }

  Stmt call_statement() {
    Stmt stmt{.kind = StmtKind::kCallBlock, .text = "caller"};
    if (is_op("(")) stmt.params = parameters();
    stmt.expr = expression();
    if (stmt.expr->kind != ExprKind::kCall) fail("a call before the end of the tag");
    stmt.body = closed_body("endcall");
    return stmt;
  }

  Stmt filter_statement() {
    Stmt stmt{.kind = StmtKind::kFilterBlock};
    Expr first{.kind = ExprKind::kFilter, .line = now().line, .name = expect_name("the name of a filter")};
    first.args.push_back(nullptr);
    if (is_op("(")) call_arguments(first);
    stmt.expr = filter_chain(finished(std::make_unique<Expr>(std::move(first))));
    stmt.body = body_until("endfilter");
    return stmt;
  }

  Stmt with_statement() {
    Stmt stmt{.kind = StmtKind::kWith};
    while (now().type != TokenType::kBlockEnd) {
      Parameter assigned{.name = expect_name("a variable name")};
      expect_op("=");
      assigned.fallback = expression();
      stmt.params.push_back(std::move(assigned));
      if (!skip_op(",")) break;
    }
    stmt.body = body_until("endwith");
    return stmt;
  }

  int loops_ = 0;
};

}  // namespace

Template parse(std::string_view source) { return Parser(lex(source)).run(); }

}  // namespace fathom::jinja
