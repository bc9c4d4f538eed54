// The expression half of the interpreter.
#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {

Value Interpreter::lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get())
    for (const auto& [key, value] : scope->vars)
      if (key == name) return value;
  if (const Value* value = context_.find(name)) return *value;
  if (has_global(name)) return Value::callable({.kind = Callable::Kind::kGlobal, .name = name});
  return Value::undefined(cat("'", name, "' is undefined"));
}

Value Interpreter::eval(const Expr& expr) {
  const Deeper deeper(*this);
  budget_.step();
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kConstant: return expr.constant;
    case ExprKind::kName: return lookup(expr.name);
    case ExprKind::kAttribute: return attribute(eval(*expr.args[0]), expr.name);
    case ExprKind::kIndex: {
      const Value object = eval(*expr.args[0]);
      return item(object, eval(*expr.args[1]));
    }
    case ExprKind::kSlice: return eval_slice(expr);
    case ExprKind::kCall: return eval_call(expr);
    case ExprKind::kFilter: return eval_filter(expr, nullptr);
    case ExprKind::kTest: {
      const Value value = eval(*expr.args[0]);
      Args args;
      arguments(expr, 1, args);
      return Value::boolean(test(expr.name, value, args));
    }
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict:
    case ExprKind::kConcat: return eval_composite(expr);
    default: return eval_operator(expr);
  }
}

Value Interpreter::eval_composite(const Expr& expr) {
  if (expr.kind == ExprKind::kDict) {
    Dict dict;
    for (size_t i = 0; i + 1 < expr.args.size(); i += 2) {
      const Value key = eval(*expr.args[i]);
      dict.set(key, eval(*expr.args[i + 1]));
    }
    budget_.bytes(expr.args.size() * 2 * sizeof(Value));
    return Value::dict(std::move(dict));
  }
  if (expr.kind == ExprKind::kConcat) {
    Text text;
    for (const ExprPtr& arg : expr.args) text.append(str(eval(*arg)));
    return Value::text(std::move(text));
  }
  List list{.kind = expr.kind == ExprKind::kList ? ListKind::kList : ListKind::kTuple};
  for (const ExprPtr& arg : expr.args) list.items.push_back(eval(*arg));
  budget_.bytes(list.items.size() * sizeof(Value));
  return Value::list(std::move(list));
}

Value Interpreter::eval_operator(const Expr& expr) {
  if (expr.kind == ExprKind::kConditional) {
    if (eval(*expr.args[0]).truthy()) return eval(*expr.args[1]);
    return expr.args[2] ? eval(*expr.args[2]) : Value::undefined("the condition was false and there is no else");
  }
  if (expr.kind == ExprKind::kCompare) return eval_compare(expr);
  Value left = eval(*expr.args[0]);
  if (expr.kind == ExprKind::kAnd) return left.truthy() ? eval(*expr.args[1]) : left;
  if (expr.kind == ExprKind::kOr) return left.truthy() ? left : eval(*expr.args[1]);
  if (expr.kind == ExprKind::kBinary) return binary(expr.name, left, eval(*expr.args[1]), budget_);
  if (expr.name == "not") return Value::boolean(!left.truthy());
  if (expr.name == "-") return negated(left);
  if (!left.is_number()) throw Error(cat("expected a number behind +, found ", left.type_name()));
  return left.if_bool() ? Value::integer(*left.as_int(), left.trusted()) : left;
}

Value Interpreter::eval_compare(const Expr& expr) {
  Value left = eval(*expr.args[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.args[i + 1]);
    if (!compare(expr.ops[i], left, right, budget_)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval_slice(const Expr& expr) {
  const Value object = eval(*expr.args[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i)
    if (const ExprPtr& bound = expr.args[i + 1]) bounds[i] = eval(*bound);
  return slice(object, bounds[0], bounds[1], bounds[2], budget_);
}

void Interpreter::arguments(const Expr& expr, size_t first, Args& args) {
  for (size_t i = first; i < expr.args.size(); ++i) args.positional.push_back(eval(*expr.args[i]));
  if (expr.star)
    for (Value& item : iterate(eval(*expr.star), budget_)) args.positional.push_back(std::move(item));
  for (const auto& [name, value] : expr.named) args.named.emplace_back(name, eval(*value));
  if (!expr.star_star) return;
  const Value map = eval(*expr.star_star);
  if (!map.if_dict()) throw Error(cat("expected a dict behind **, found ", map.type_name()));
  for (const auto& [key, value] : map.if_dict()->entries()) args.named.emplace_back(str(key).bytes(), value);
}

Value Interpreter::eval_call(const Expr& expr) {
  const Value callee = eval(*expr.args[0]);
  Args args;
  arguments(expr, 1, args);
  line_ = expr.line;
  return call(callee, args);
}

Value Interpreter::eval_filter(const Expr& expr, const Value* input) {
  const Expr* inner = expr.args[0].get();
  // In a filter block the innermost filter reads the block's text.
  Value value;
  if (!inner && input)
    value = *input;
  else if (inner && input && inner->kind == ExprKind::kFilter)
    value = eval_filter(*inner, input);
  else if (inner)
    value = eval(*inner);
  Args args;
  arguments(expr, 1, args);
  line_ = expr.line;
  return filter(expr.name, value, args);
}

Value Interpreter::filter(const std::string& name, const Value& input, Args& args) {
  budget_.step();
  Filter f = find_filter(name);
  if (!f) f = find_sequence_filter(name);
  if (!f) throw Error(cat("expected a known filter, found ", name));
  Value out = f(*this, input, args);
  args.done();
  return out;
}

bool Interpreter::test(const std::string& name, const Value& value, Args& args) {
  budget_.step();
  const Test f = find_test(name);
  if (!f) throw Error(cat("expected a known test, found ", name));
  const bool out = f(*this, value, args);
  args.done();
  return out;
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) throw Error(cat(object.undefined_message(), ", so it has no attribute '", name, "'"));
  if (object.if_loop()) return loop_attribute(object, name);
  if (const Namespace* space = object.if_space()) {
    if (const Value* value = space->find(name)) return *value;
  } else if (has_method(object, name)) {
    return Value::callable({.kind = Callable::Kind::kMethod, .name = name, .self = object});
  } else if (const Dict* dict = object.if_dict()) {
    if (const Value* value = dict->find(name)) return *value;
  }
  return Value::undefined(cat("'", object.type_name(), " object' has no attribute '", name, "'"));
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) throw Error(cat(object.undefined_message(), ", so it has no items"));
  if (const Dict* dict = object.if_dict()) {
    if (!key.if_list() && !key.if_dict() && !key.is_undefined())
      if (const Value* value = dict->find(key)) return *value;
  } else if (const std::optional<Int> index = key.as_int()) {
    return element(object, *index);
  }
  if (const Text* name = key.if_text()) return attribute(object, name->bytes());
  return Value::undefined(cat("'", object.type_name(), " object' has no such element"));
}

Value Interpreter::loop_attribute(const Value& value, const std::string& name) {
  const Loop& loop = *value.if_loop();
  const std::vector<Value>& items = loop.items.if_list()->items;
  const auto integer = [](size_t x) { return Value::integer(static_cast<Int>(x)); };
  if (name == "index") return integer(loop.index0 + 1);
  if (name == "index0") return integer(loop.index0);
  if (name == "revindex") return integer(items.size() - loop.index0);
  if (name == "revindex0") return integer(items.size() - loop.index0 - 1);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(loop.index0 + 1 == items.size());
  if (name == "length") return integer(items.size());
  if (name == "depth") return Value::integer(loop.depth);
  if (name == "depth0") return Value::integer(loop.depth - 1);
  if (name == "previtem") return loop.index0 ? items[loop.index0 - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return loop.index0 + 1 < items.size() ? items[loop.index0 + 1] : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed")
    return Value::callable({.kind = Callable::Kind::kMethod, .name = name, .self = value});
  return Value::undefined(cat("loop has no attribute '", name, "'"));
}

}  // namespace fathom::jinja
