// The report of `fathom inspect` for a person, as plain text that is safe for a terminal. Pure functions.
#pragma once
#include <string>
#include <string_view>

#include "base/json.h"

namespace fathom {

/// What is shown beyond the usual.
struct InspectView {
  bool whole_sample = false;  ///< all of the rendered chat template instead of its beginning
  bool keys = false;          ///< the metadata
};

/// The report of inspect_report(), for 80 columns: a dozen lines and tables, however much a file has of anything.
/// "tensor_table", where the report has it, becomes a table too.
std::string inspect_text(const json::object& report, const InspectView& view);

/// "1,234", "98,362,432 (98.4 M)"; "more than 1.8e19" for a sum that did not fit.
std::string count_text(uint64_t n);
/// "123 B", "4.0 KiB", "1.25 GiB"
std::string bytes_text(uint64_t n);
/// Text from a file as part of one line: safe for a terminal, newlines and tabs as their Unicode pictures.
std::string one_line(std::string_view text);
/// A value on one line, at most 100 bytes.
std::string value_text(const json::value& value);

}  // namespace fathom
