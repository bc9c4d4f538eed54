// What a template finds ready: operators, methods of strings, lists and dicts, filters, tests, global functions. The
// tables are looked up by name; the interpreter calls in here and nobody else does. Thread-safe: no state.
#pragma once
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace fathom::jinja {

using Filter = Value (*)(Interpreter& in, const Value& value, Args& args);
using Test = bool (*)(Interpreter& in, const Value& value, Args& args);

/// Null where there is none of that name.
Filter find_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);
Test find_test(std::string_view name);
bool has_method(const Value& object, std::string_view name);
bool has_global(std::string_view name);

Value call_method(Interpreter& in, const Value& self, const std::string& name, Args& args);
Value call_string_method(Interpreter& in, const Text& self, const std::string& name, Args& args);
bool is_string_method(std::string_view name);
Value call_global(Interpreter& in, const std::string& name, Args& args);

/// Left op right for + - * / // % **. Throws Error where Python does, and where an integer leaves 128 bits.
Value binary(const std::string& op, const Value& left, const Value& right, Budget& budget);
Value negated(const Value& value);
bool contains(const Value& container, const Value& item, Budget& budget);
/// One comparison: == != < <= > >= in, "not in".
bool compare(const std::string& op, const Value& left, const Value& right, Budget& budget);
/// a[i] of a list or string; undefined if out of range.
Value element(const Value& sequence, Int index);
/// a[start:stop:step], absent bounds undefined or None. Throws Error unless a is a string or list.
Value slice(const Value& sequence, const Value& start, const Value& stop, const Value& step, Budget& budget);
/// Python's "..." % args.
Text percent_format(const Text& format, const Value& args, Budget& budget);
/// Python's "...".format(...), without format specifications except .Nf and d.
Text brace_format(Interpreter& in, const Text& format, Args& args);

// Strings, shared by methods and filters.
enum class Case { kUpper, kLower, kTitle, kCapitalize, kSwap };
Text change_case(const Text& text, Case how, Budget& budget);
/// Python's strip: the ends to keep [first, second). `chars` empty: white space.
Text strip(const Text& text, const Text* chars, bool left, bool right);
Text replace(const Text& text, const Text& from, const Text& to, Int count, Budget& budget);
Text join(const Text& separator, const std::vector<Value>& items, Budget& budget, bool strings_only);

}  // namespace fathom::jinja
