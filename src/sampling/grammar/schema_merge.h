// Two JSON schemas that hold at once as one schema (allOf, and keywords beside $ref and anyOf), and typed access to the
// keywords. Called by SchemaCompiler. Thread-safe: no state.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace fathom {

/// Throws Error "JSON schema: WHERE: expected ..., found ...".
[[noreturn]] void wrong_schema(const std::string& where, std::string_view expected, std::string_view found);

/// `where` and one more step of a JSON pointer, with ~ and / escaped.
std::string pointer_to(const std::string& where, std::string_view key);

/// Whether the keyword says nothing about which documents are valid.
bool is_annotation(std::string_view keyword);
/// Whether `object` has nothing but annotations (and `except`).
bool only_annotations(const json::object& object, std::string_view except = {});

/// The keyword as a count from 0 to 2^31; nullopt where it is absent.
std::optional<uint32_t> count_of(const json::object& object, std::string_view keyword, const std::string& where);

/// The types of `type` and `nullable`; without `type`, those whose keywords are present, and all seven where there are
/// none. "number" includes "integer".
std::vector<std::string> types_of(const json::object& object, const std::string& where);

/// A schema of the documents that are valid for both, neither of which has $ref. Throws Error naming the keyword for
/// what cannot be said in one schema: two patterns, formats, multipleOf or anyOf, prefixItems beside items.
json::value merge_schemas(const json::value& a, const json::value& b, const std::string& where);

}  // namespace fathom
