// Values of the template interpreter, with Python's semantics where templates can see them: truth, equality, order,
// str() and repr(), code point indexing. Containers are immutable once built (namespaces are not) and their nesting is
// bounded, so recursion over a value is. Everything that costs memory or time in proportion to data asks a Budget
// first.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/seeded_hash.h"
#include "text/jinja/text.h"

namespace fathom::jinja {

class Value;
struct List;
class Dict;
struct Namespace;
struct Loop;
struct Callable;
struct Stmt;
struct Scope;
using Int = __int128;  // covers uint64 from JSON; beyond it arithmetic is an Error, where Python goes on

constexpr int kMaxValueDepth = 120;

/// What one rendering may still spend. Throws ResourceError when the limit is passed.
class Budget {
 public:
  Budget(uint64_t max_steps, uint64_t max_bytes) : steps_(max_steps), bytes_(max_bytes) {}
  void step(uint64_t n = 1);
  void bytes(uint64_t n);

 private:
  uint64_t steps_, bytes_;
};

class Value {
 public:
  struct Undefined {
    std::shared_ptr<const std::string> what;  ///< for messages: "'x'", "dict has no 'y'"; may be null
  };
  struct None {};

  Value() = default;  // undefined
  static Value undefined(std::string what);
  static Value none(bool trusted = true) { return Value(None{}, trusted); }
  static Value boolean(bool x, bool trusted = true) { return Value(x, trusted); }
  static Value integer(Int x, bool trusted = true) { return Value(x, trusted); }
  static Value number(double x, bool trusted = true) { return Value(x, trusted); }
  static Value text(Text x);
  static Value text(std::string x, bool trusted = true) { return text(Text(std::move(x), trusted)); }
  /// Throws Error if the nesting gets deeper than kMaxValueDepth.
  static Value list(List x);
  static Value dict(Dict x);
  static Value space(std::shared_ptr<Namespace> x) { return Value(std::move(x), true); }
  static Value loop(std::shared_ptr<Loop> x) { return Value(std::move(x), true); }
  static Value callable(Callable x);
  /// A JSON document from the request: untrusted throughout. Throws Error if it is nested too deeply.
  static Value from_json(const json::value& x, Budget& budget, int depth = 0);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* if_bool() const { return std::get_if<bool>(&data_); }
  const Int* if_int() const { return std::get_if<Int>(&data_); }
  const double* if_double() const { return std::get_if<double>(&data_); }
  const Text* if_text() const { return pointee<const Text>(); }
  const List* if_list() const { return pointee<const List>(); }
  const Dict* if_dict() const { return pointee<const Dict>(); }
  Namespace* if_space() const { return pointee<Namespace>(); }
  Loop* if_loop() const { return pointee<Loop>(); }
  const Callable* if_callable() const { return pointee<const Callable>(); }
  bool is_number() const { return if_bool() || if_int() || if_double(); }
  /// bool and int as an integer, else nullopt.
  std::optional<Int> as_int() const;
  /// bool, int and float as double, else nullopt.
  std::optional<double> as_double() const;

  /// Scalars: whether it came from the template (true) or the request. Strings carry their own.
  bool trusted() const { return trusted_; }
  int depth() const;
  bool truthy() const;
  /// The class name as Python prints it: "str", "NoneType".
  std::string_view type_name() const;
  /// "'x' is undefined"
  std::string undefined_message() const;
  /// The same object: for loops and namespaces, and as a shortcut.
  bool same_object(const Value& other) const;

 private:
  using Data = std::variant<Undefined, None, bool, Int, double, std::shared_ptr<const Text>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                            std::shared_ptr<Loop>, std::shared_ptr<const Callable>>;
  template <class T>
  Value(T data, bool trusted) : data_(std::move(data)), trusted_(trusted) {}
  template <class T>
  T* pointee() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data_);
    return p ? p->get() : nullptr;
  }
  Data data_;
  bool trusted_ = true;
};

enum class ListKind : uint8_t { kList, kTuple, kView, kIterator };

struct List {
  std::vector<Value> items = {};
  ListKind kind = ListKind::kList;
  std::string label = {};   ///< how a view or iterator prints
  mutable size_t used = 0;  ///< an iterator's items before this one are gone
  int depth = 1;
};

/// Insertion order; keys are strings, numbers, booleans, None.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  const std::vector<Entry>& entries() const { return entries_; }
  const Value* find(const Value& key) const;  // null: absent. Throws Error if the key is not hashable
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
  int depth() const { return depth_; }

 private:
  const Value* find_key(const std::string& key) const;
  std::vector<Entry> entries_;
  NameMap<size_t> index_;
  int depth_ = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> vars;
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

struct Loop {
  Value items;  ///< a List
  size_t index0 = 0;
  int depth = 1;                       ///< of nested recursive loops
  std::optional<std::string> changed;  ///< repr of what loop.changed saw last
  const Stmt* statement = nullptr;     ///< of a recursive loop, else null; owned by the template
  std::shared_ptr<Scope> scope = {};   ///< of a recursive loop: what its bodies see
};

struct Callable {
  enum class Kind { kMacro, kMethod, kGlobal };
  Kind kind;
  std::string name;                   ///< of the macro, method or global
  Value self = {};                    ///< kMethod: what it is bound to
  const Stmt* macro = nullptr;        ///< kMacro: owned by the template
  std::shared_ptr<Scope> scope = {};  ///< kMacro: where it was defined
};

/// Python's ==. Charges the budget per element compared.
bool equals(const Value& a, const Value& b, Budget& budget);
/// Python's <. Throws Error where Python does (str < int).
bool less(const Value& a, const Value& b, Budget& budget);
/// Python's str(): what {{ x }} prints. Undefined prints nothing.
Text to_text(const Value& value, Budget& budget);
/// Python's repr().
Text repr(const Value& value, Budget& budget);
/// Decimal digits.
std::string to_string(Int x);
std::string float_repr(double x);

/// Items of anything that can be iterated: strings by code point, dicts by key, undefined as empty; uses up an
/// iterator. Throws Error for other types.
std::vector<Value> iterate(const Value& value, Budget& budget);
/// One code point each.
std::vector<Value> split_code_points(const Text& text, Budget& budget);

struct JsonOptions {
  int indent = -1;
  std::string item_separator = ", ", key_separator = ": ";
  bool ensure_ascii = false, sort_keys = false;
};
/// Python's json.dumps; strings keep their trust, what is added is untrusted. Throws Error for what JSON has not.
Text dump_json(const Value& value, const JsonOptions& options, Budget& budget);

}  // namespace fathom::jinja
