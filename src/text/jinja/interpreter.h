// Renders a syntax tree: scopes, statements, expressions, calls. One object renders once, on one thread; the template
// and the values it was given are only read. What a template may spend is bounded: steps, bytes made, depth of
// recursion.
#pragma once
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/parser.h"

namespace fathom::jinja {

struct Limits {
  uint64_t steps = 20'000'000;           ///< evaluations, elements compared, ...
  uint64_t bytes = uint64_t{512} << 20;  ///< of all values made on the way, not only of those alive
  uint64_t output_bytes = uint64_t{64} << 20;
};

struct Scope {
  std::vector<std::pair<std::string, Value>> vars;
  std::shared_ptr<Scope> parent;  ///< null: the outermost
  void set(std::string_view name, Value value);
};

/// Arguments of a call. The callee takes its parameters in their order, each by position or by name, and then calls
/// done().
class Args {
 public:
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* next(std::string_view name);  ///< null: not given
  Value next_or(std::string_view name, const Value& fallback);
  Value required(std::string_view name);
  bool next_bool(std::string_view name, bool fallback);
  Int next_int(std::string_view name, Int fallback);
  Text next_text(std::string_view name, std::string_view fallback);
  std::vector<Value> rest();  ///< positional arguments not taken yet
  /// Throws Error if something was given that nobody took.
  void done() const;

 private:
  size_t at_ = 0;
  std::vector<bool> taken_;
};

class Interpreter {
 public:
  Interpreter(const Template& source, const Limits& limits, std::function<std::tm()> clock);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// Throws Error and ResourceError; line() then says where.
  Text run(Dict context);
  int line() const { return line_; }

  // For filters, tests and methods.
  Budget& budget() { return budget_; }
  Value call(const Value& callee, Args& args);
  Value filter(const std::string& name, const Value& input, Args& args);
  bool test(const std::string& name, const Value& value, Args& args);
  /// a.name and a[key]: undefined where there is no such thing. Throw Error if `object` is undefined itself.
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  Text str(const Value& value) { return to_text(value, budget_); }
  std::tm now() const { return clock_(); }
  std::shared_ptr<Namespace> make_namespace();

 private:
  enum class Flow { kNext, kBreak, kContinue };
  static constexpr int kMaxRecursion = 1500;  // about 1 MiB of stack, twice that with sanitizers
  struct Deeper {
    explicit Deeper(Interpreter& in);
    ~Deeper() { --interpreter.depth_; }
    Interpreter& interpreter;
  };

  Flow execute(const Block& block);
  Flow execute(const Stmt& stmt);
  Flow for_loop(const Stmt& stmt, const Value& iterated, int depth);
  std::vector<Value> filtered(const Stmt& stmt, std::vector<Value> items);
  void set_block(const Stmt& stmt);
  void filter_block(const Stmt& stmt);
  void call_block(const Stmt& stmt);
  void with_block(const Stmt& stmt);
  Text captured(const Block& block, std::shared_ptr<Scope> scope);
  void assign(const Target& target, const Value& value);
  void output(const Text& text);
  Value define_macro(const Stmt& stmt);
  Value call_macro(const Callable& macro, Args& args);
  Value call_loop(const Loop& loop, Args& args);
  Value loop_attribute(const Value& loop, const std::string& name);

  Value eval(const Expr& expr);
  Value eval_composite(const Expr& expr);
  Value eval_operator(const Expr& expr);
  Value eval_call(const Expr& expr);
  Value eval_filter(const Expr& expr, const Value* input);
  Value eval_slice(const Expr& expr);
  Value eval_compare(const Expr& expr);
  Value lookup(const std::string& name);
  void arguments(const Expr& expr, size_t first, Args& args);
  std::shared_ptr<Scope> inner_scope();
  void retain(std::shared_ptr<Scope> scope);

  const Template& template_;
  Budget budget_;
  uint64_t max_output_;
  std::function<std::tm()> clock_;
  Dict context_;
  std::shared_ptr<Scope> scope_;
  Text* out_ = nullptr;
  int depth_ = 0;
  int line_ = 1;
  // Macros and namespaces can refer to each other in circles, so all of them live until the end and are emptied then.
  std::vector<std::shared_ptr<Scope>> scopes_;
  std::vector<std::shared_ptr<Namespace>> spaces_;
};

}  // namespace fathom::jinja
