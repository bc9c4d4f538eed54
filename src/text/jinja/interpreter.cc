#include "text/jinja/interpreter.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
void Scope::set(std::string_view name, Value value) {
  for (auto& [key, old] : vars)
    if (key == name) {
      old = std::move(value);
      return;
    }
  vars.emplace_back(name, std::move(value));
}

const Value* Args::next(std::string_view name) {
  if (at_ < positional.size()) return &positional[at_++];
  taken_.resize(named.size());
  for (size_t i = 0; i < named.size(); ++i)
    if (named[i].first == name) {
      taken_[i] = true;
      return &named[i].second;
    }
  return nullptr;
}

Value Args::next_or(std::string_view name, const Value& fallback) {
  const Value* value = next(name);
  return value ? *value : fallback;
}

Value Args::required(std::string_view name) {
  const Value* value = next(name);
  if (!value) throw Error(cat("expected the argument ", name, ", found none"));
  return *value;
}

bool Args::next_bool(std::string_view name, bool fallback) {
  const Value* value = next(name);
  return value ? value->truthy() : fallback;
}

Int Args::next_int(std::string_view name, Int fallback) {
  const Value* value = next(name);
  if (!value || value->is_none()) return fallback;
  const std::optional<Int> i = value->as_int();
  if (!i) throw Error(cat("argument ", name, ": expected an integer, found ", value->type_name()));
  return *i;
}

Text Args::next_text(std::string_view name, std::string_view fallback) {
  const Value* value = next(name);
  if (!value) return Text(std::string(fallback), true);
  if (!value->if_text()) throw Error(cat("argument ", name, ": expected a string, found ", value->type_name()));
  return *value->if_text();
}

std::vector<Value> Args::rest() {
  std::vector<Value> out(positional.begin() + static_cast<ptrdiff_t>(at_), positional.end());
  at_ = positional.size();
  return out;
}

void Args::done() const {
  if (at_ < positional.size()) throw Error(cat("expected at most ", at_, " arguments, found ", positional.size()));
  for (size_t i = 0; i < named.size(); ++i)
    if (i >= taken_.size() || !taken_[i]) throw Error(cat("expected no argument ", named[i].first));
}

Interpreter::Deeper::Deeper(Interpreter& in) : interpreter(in) {
  if (in.depth_ >= kMaxRecursion)
    throw ResourceError(cat("expected at most ", kMaxRecursion, " nested evaluations, found more"));
  ++in.depth_;
}

Interpreter::Interpreter(const Template& source, const Limits& limits, std::function<std::tm()> clock)
    : template_(source),
      budget_(limits.steps, limits.bytes),
      max_output_(limits.output_bytes),
      clock_(std::move(clock)) {}

Interpreter::~Interpreter() {
  for (const auto& scope : scopes_) scope->vars.clear();
  for (const auto& space : spaces_) space->vars.clear();
}

Text Interpreter::run(Dict context) {
  context_ = std::move(context);
  scope_ = std::make_shared<Scope>();
  Text out;
  out_ = &out;
  execute(template_.body);
  return out;
}

void Interpreter::output(const Text& text) {
  budget_.bytes(text.size());
  if (out_->size() + text.size() > max_output_)
    throw ResourceError(cat("expected at most ", max_output_, " bytes of output, found more"));
  out_->append(text);
}

std::shared_ptr<Scope> Interpreter::inner_scope() {
  auto scope = std::make_shared<Scope>();
  scope->parent = scope_;
  return scope;
}

void Interpreter::retain(std::shared_ptr<Scope> scope) {
  if (!scopes_.empty() && scopes_.back() == scope) return;
  budget_.bytes(sizeof(Scope) + 64);
  scopes_.push_back(std::move(scope));
}

std::shared_ptr<Namespace> Interpreter::make_namespace() {
  budget_.bytes(sizeof(Namespace) + 64);
  spaces_.push_back(std::make_shared<Namespace>());
  return spaces_.back();
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  for (const Stmt& stmt : block)
    if (const Flow flow = execute(stmt); flow != Flow::kNext) return flow;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Stmt& stmt) {
  const Deeper deeper(*this);
  budget_.step();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kText: output(Text(stmt.text, true)); break;
    case StmtKind::kOutput: output(str(eval(*stmt.expr))); break;
    case StmtKind::kIf: return execute(eval(*stmt.expr).truthy() ? stmt.body : stmt.otherwise);
    case StmtKind::kFor: return for_loop(stmt, eval(*stmt.expr), 1);
    case StmtKind::kSet: assign(stmt.target, eval(*stmt.expr)); break;
    case StmtKind::kSetBlock: set_block(stmt); break;
    case StmtKind::kMacro: scope_->set(stmt.text, define_macro(stmt)); break;
    case StmtKind::kCallBlock: call_block(stmt); break;
    case StmtKind::kFilterBlock: filter_block(stmt); break;
    case StmtKind::kWith: with_block(stmt); break;
    case StmtKind::kScope: output(captured(stmt.body, inner_scope())); break;
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

std::vector<Value> Interpreter::filtered(const Stmt& stmt, std::vector<Value> items) {
  std::vector<Value> kept;
  const std::shared_ptr<Scope> outer = scope_;
  for (Value& item : items) {
    scope_ = std::make_shared<Scope>();
    scope_->parent = outer;
    assign(stmt.target, item);
    const bool keep = eval(*stmt.filter).truthy();
    scope_ = outer;
    if (keep) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::for_loop(const Stmt& stmt, const Value& iterated, int depth) {
  std::vector<Value> items = iterate(iterated, budget_);
  if (stmt.filter) items = filtered(stmt, std::move(items));
  if (items.empty()) return execute(stmt.otherwise);
  const auto loop = std::make_shared<Loop>();
  loop->items = Value::list({.items = std::move(items)});
  loop->depth = depth;
  const std::shared_ptr<Scope> outer = scope_;
  if (stmt.recursive) {
    loop->statement = &stmt;
    loop->scope = outer;
  }
  const std::vector<Value>& all = loop->items.if_list()->items;
  for (size_t i = 0; i < all.size(); ++i) {
    budget_.step();
    loop->index0 = i;
    scope_ = std::make_shared<Scope>();
    scope_->parent = outer;
    scope_->set("loop", Value::loop(loop));
    assign(stmt.target, all[i]);
    const Flow flow = execute(stmt.body);
    scope_ = outer;
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Text Interpreter::captured(const Block& block, std::shared_ptr<Scope> scope) {
  Text text;
  Text* const out = std::exchange(out_, &text);
  const std::shared_ptr<Scope> outer = std::exchange(scope_, std::move(scope));
  execute(block);
  scope_ = outer;
  out_ = out;
  return text;
}

void Interpreter::set_block(const Stmt& stmt) {
  Value value = Value::text(captured(stmt.body, inner_scope()));
  if (stmt.expr) value = eval_filter(*stmt.expr, &value);
  assign(stmt.target, value);
}

void Interpreter::filter_block(const Stmt& stmt) {
  const Value text = Value::text(captured(stmt.body, inner_scope()));
  output(str(eval_filter(*stmt.expr, &text)));
}

void Interpreter::call_block(const Stmt& stmt) {
  Args args;
  const Value callee = eval(*stmt.expr->args[0]);
  arguments(*stmt.expr, 1, args);
  args.named.emplace_back("caller", define_macro(stmt));
  output(str(call(callee, args)));
}

void Interpreter::with_block(const Stmt& stmt) {
  const std::shared_ptr<Scope> scope = inner_scope();
  for (const Parameter& assigned : stmt.params) scope->set(assigned.name, eval(*assigned.fallback));
  output(captured(stmt.body, scope));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.several.empty()) {
    if (target.attribute.empty()) return scope_->set(target.name, value);
    const Value object = lookup(target.name);
    Namespace* const space = object.if_space();
    if (!space)
      throw Error(
          cat("cannot set an attribute of ", target.name, ": expected a namespace, found ", object.type_name()));
    return space->set(target.attribute, value);
  }
  if (value.is_undefined()) throw Error(value.undefined_message());
  const std::vector<Value> items = iterate(value, budget_);
  if (items.size() != target.several.size())
    throw Error(cat("expected ", target.several.size(), " values to unpack, found ", items.size()));
  for (size_t i = 0; i < items.size(); ++i) assign(target.several[i], items[i]);
}

Value Interpreter::define_macro(const Stmt& stmt) {
  retain(scope_);
  return Value::callable({.kind = Callable::Kind::kMacro, .name = stmt.text, .macro = &stmt, .scope = scope_});
}

Value Interpreter::call_macro(const Callable& macro, Args& args) {
  const auto scope = std::make_shared<Scope>();
  scope->parent = macro.scope;
  const std::shared_ptr<Scope> outer = std::exchange(scope_, scope);
  for (const Parameter& parameter : macro.macro->params) {
    if (const Value* value = args.next(parameter.name))
      scope->set(parameter.name, *value);
    else
      scope->set(parameter.name, parameter.fallback
                                     ? eval(*parameter.fallback)
                                     : Value::undefined(cat("parameter '", parameter.name, "' was not provided")));
  }
  const bool has_caller =
      std::any_of(args.named.begin(), args.named.end(), [](const auto& a) { return a.first == "caller"; });
  if (has_caller) scope->set("caller", *args.next("caller"));
  if (template_.names.contains("varargs")) {
    List rest{.items = args.rest(), .kind = ListKind::kTuple};
    scope->set("varargs", Value::list(std::move(rest)));
  }
  args.done();
  const Value result = Value::text(captured(macro.macro->body, scope));
  scope_ = outer;
  return result;
}

Value Interpreter::call_loop(const Loop& loop, Args& args) {
  if (!loop.statement) throw Error("loop: expected a loop marked recursive in order to call it");
  const Value items = args.required("iterable");
  args.done();
  Text text;
  Text* const out = std::exchange(out_, &text);
  const std::shared_ptr<Scope> outer = std::exchange(scope_, loop.scope);
  for_loop(*loop.statement, items, loop.depth + 1);
  scope_ = outer;
  out_ = out;
  return Value::text(std::move(text));
}

Value Interpreter::call(const Value& callee, Args& args) {
  const Deeper deeper(*this);
  budget_.step();
  if (callee.is_undefined()) throw Error(callee.undefined_message());
  if (const Loop* loop = callee.if_loop()) return call_loop(*loop, args);
  const Callable* f = callee.if_callable();
  if (!f) throw Error(cat("expected something that can be called, found ", callee.type_name()));
  switch (f->kind) {
    case Callable::Kind::kMacro: return call_macro(*f, args);
    case Callable::Kind::kMethod: return call_method(*this, f->self, f->name, args);
    case Callable::Kind::kGlobal: break;
  }
  return call_global(*this, f->name, args);
}

}  // namespace fathom::jinja
