// Forms with files, as browsers, curl and API clients send them. Pure functions; what comes in is hostile.
// Source: RFC 7578 and RFC 2046, section 5.1.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct FormPart {
  std::string name;      ///< of the field
  std::string filename;  ///< without folders; empty: a field, not a file
  std::string content;   ///< any bytes
};

/// Throws Error if `content_type` is not multipart/form-data with a boundary, the body is not what that says, or has
/// more than 32 parts.
std::vector<FormPart> parse_form(std::string_view content_type, std::string_view body);

}  // namespace fathom
