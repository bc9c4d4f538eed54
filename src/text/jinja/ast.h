// The syntax tree of a template: plain data, built by the parser, read by the interpreter, immutable afterwards and so
// shared freely between threads. Its depth is bounded by the parser, which lets the interpreter recurse over it.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace fathom::jinja {

enum class ExprKind {
  kConstant,   // constant
  kName,       // name
  kList,       // args
  kTuple,      // args
  kDict,       // args: key, value, key, value, ...
  kAttribute,  // args[0].name
  kIndex,      // args[0][args[1]]
  kSlice,      // args[0][args[1]:args[2]:args[3]], absent ones null
  kCall,       // args[0](args[1..], named)
  kFilter,     // args[0] | name(args[1..], named); args[0] is null in a filter block
  kTest,       // args[0] is name(args[1..], named)
  kUnary,      // name args[0]: not, -, +
  kBinary,     // args[0] name args[1]: + - * / // % **
  kConcat,     // args joined by ~
  kAnd,
  kOr,          // args[0], args[1]
  kCompare,     // args[0] ops[0] args[1] ops[1] args[2] ...
  kConditional  // args[1] if args[0] else args[2], which may be null
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;
struct Expr {
  ExprKind kind;
  int line = 0;
  int depth = 1;  ///< of this subtree
  std::string name = {};
  Value constant = {};
  std::vector<ExprPtr> args = {};
  std::vector<std::pair<std::string, ExprPtr>> named = {};
  std::vector<std::string> ops = {};
  ExprPtr star = {}, star_star = {};  ///< f(*star, **star_star), mostly null
};

enum class StmtKind {
  kText,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue
};

/// What is assigned to: a name, an attribute of a namespace, or several of these.
struct Target {
  std::string name = {};
  std::string attribute = {};        ///< not empty: name.attribute = ...
  std::vector<Target> several = {};  ///< not empty: unpacks
};

struct Stmt;
using Block = std::vector<Stmt>;
struct Parameter {
  std::string name = {};
  ExprPtr fallback = {};  ///< null: none
};

struct Stmt {
  StmtKind kind;
  int line = 0;
  std::string text = {};               ///< kText; the name of a macro
  ExprPtr expr = {};                   ///< output, condition of if, iterated, assigned, call or filter of a block
  ExprPtr filter = {};                 ///< condition of "for ... if"
  Target target = {};                  ///< for, set
  bool recursive = false;              ///< for ... recursive
  std::vector<Parameter> params = {};  ///< macro, call; with: its assignments
  Block body = {}, otherwise = {};     ///< otherwise: else of if and for; "elif" is an if alone in there
};

}  // namespace fathom::jinja
