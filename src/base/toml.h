// toml++ as all of the program uses it, so that its inline functions are the same everywhere. It takes long to compile:
// included by the few .cc files that read TOML. Its assertions can be reached by a file (3.3.0: "x = 2024-01-01 0"), so
// they throw instead of ending the process.
#pragma once
#include <string>
#include <string_view>

#include "base/error.h"

namespace fathom {
struct TomlAssertion {};
[[noreturn]] inline void toml_assertion_failed() { throw TomlAssertion(); }
}  // namespace fathom

#define TOML_EXCEPTIONS 1
#define TOML_ASSERT(expr) ((expr) ? void() : ::fathom::toml_assertion_failed())
#include <toml++/toml.h>

namespace fathom {

/// Throws Error "<what>:<line>: expected TOML, found: ...".
inline toml::table parse_toml(std::string_view text, const std::string& what) {
  try {
    return toml::parse(text, what);
  } catch (const toml::parse_error& e) {
    throw Error(cat(what, ":", e.source().begin.line, ": expected TOML, found: ", e.description()));
  } catch (const TomlAssertion&) {
    throw Error(cat(what, ": expected TOML, found what its parser gives up on"));
  }
}

}  // namespace fathom
