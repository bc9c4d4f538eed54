// What comes from a person or from the hub and becomes an address or a path: OWNER/NAME[:FILE], revisions, paths of
// files. Everything is checked here once, before it meets the file system. Called by all of hub/ and by cli/pull.cc.
// Thread-safe: no state.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

struct HubName {
  std::string owner, name;
  std::string file;  ///< what follows ':', or empty
  std::string repository() const { return owner + "/" + name; }
};

/// OWNER/NAME or OWNER/NAME:FILE. Owner and name: 1 to 96 of A-Z a-z 0-9 . _ - each, not beginning with '.' or '-'.
/// Throws UsageError.
HubName parse_hub_name(std::string_view text);

/// Why `path`, as a server named it, cannot be a file below a model's folder; empty: it can. Refused: absolute paths,
/// "..", ".", empty parts, backslashes, control characters, parts over 200 bytes, more than 16 parts.
std::string path_problem(std::string_view path);

/// A branch, tag or commit as it may stand in an address. Throws UsageError.
void check_revision(std::string_view revision);

/// `text` with all but A-Z a-z 0-9 - . _ ~ as %XX; '/' is kept where `keep_slash`. Source: RFC 3986, 2.3.
std::string url_quoted(std::string_view text, bool keep_slash);

/// "4.92 GB", "731 MB", "12 bytes": decimal units, three digits.
std::string size_text(uint64_t bytes);

/// True for 40 to 64 hex digits in lower case.
bool is_hex_id(std::string_view text);

}  // namespace fathom
