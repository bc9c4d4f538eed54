// JSON schemas as grammars: draft 2020-12 as far as OpenAI's strict mode and common use go. The server compiles
// `response_format` and the arguments of strict tools with it, through a GrammarCache.
//   Taken: type (and lists of types), nullable; properties, required, additionalProperties, minProperties and
// maxProperties of maps; items, prefixItems, minItems, maxItems; enum, const; anyOf, oneOf (read as anyOf: that exactly
// one holds is not checked), allOf and keywords beside $ref (merged); $ref within the schema, recursion included;
// minLength, maxLength, pattern (regex_parser.h), format; minimum, maximum, exclusive*, multipleOf (see below);
// true and false. Annotations are ignored. Every other keyword would change the meaning and is refused by name.
//   What the grammar allows, and no more: properties in the order of the schema, those that may be left out left out,
// then further ones; a schema that names no type, but keywords of one, has that type; strings of enum and const and
// property names in their shortest spelling (what is not ASCII as \uXXXX, too); integers without fraction and exponent,
// and so numbers with bounds; white space as in json_rules.h, before the value too.
#pragma once
#include "base/json.h"
#include "sampling/grammar/grammar.h"

namespace fathom {

struct SchemaOptions {
  /// What an object schema without `additionalProperties` allows beside its properties: anything (JSON schema's rule)
  /// or nothing (OpenAI's strict mode).
  bool additional_properties = true;
};

/// Integer bounds are exact up to 18 digits, bounds of numbers up to 15; multipleOf of integers is exact up to 1000
/// without bounds, and within bounds for up to 10,000 values; multipleOf of numbers for powers of ten down to 1e-15.
/// Throws Error with the JSON pointer for: keywords and combinations that are not taken, ill-typed keywords, references
/// that lead nowhere or outside, what no finite document satisfies, nesting beyond 100 levels, more than 2^17 schemas
/// visited, and what exceeds the bounds of nfa.h.
Grammar compile_json_schema(const json::value& schema, SchemaOptions options = {});

}  // namespace fathom
