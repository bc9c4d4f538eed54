// The lines of a JSONL file, one object each, with errors that name file and line. Called by the readers of training
// data. No state: thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>

#include "base/function_ref.h"
#include "base/json.h"

namespace fathom {

/// Calls `f` with each line's object, whose what() is "FILE:LINE", and the bytes of the file up to and with that line.
/// Blank lines are passed over. Throws Error naming file and line for what is no JSON object.
void for_each_json_line(const std::filesystem::path& path, FunctionRef<void(const JsonObject& line, uint64_t bytes)> f);

}  // namespace fathom
