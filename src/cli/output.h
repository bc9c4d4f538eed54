// Writing to standard output and error as a whole or not at all, and JSON Lines in and out. One thread.
#pragma once
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace fathom {

/// Writes and flushes. Throws Error where standard output cannot take it (a full disk).
void print_out(std::string_view text);
void print_err(std::string_view text);

/// The next line without its newline; nullopt: the end. Throws Error naming `what` where a line is longer than `limit`
/// bytes; the rest of that line is skipped, so that reading can go on.
std::optional<std::string> read_line(std::istream& in, std::string_view what, size_t limit = size_t{64} << 20);
/// All of it. Throws Error beyond `limit` bytes.
std::string read_all(std::istream& in, std::string_view what, size_t limit = size_t{256} << 20);

/// One line of JSON out per line in, in order: f's result, or {error}. An empty line is an error too, so that the lines
/// stay in step. Returns 0, or 1 if a line was answered with an error.
int answer_json_lines(std::istream& in, const std::function<json::object(const json::value&)>& f);

/// Calls f with the file's stream, or standard input for "" and "-". Throws Error naming the file.
int with_input(const std::string& file, const std::function<int(std::istream&)>& f);

/// A JSON array of token ids within int32. Throws Error naming `what`.
std::vector<int32_t> ids_from_json(const json::value& value, std::string_view what);

}  // namespace fathom
