// A JSON file of a model folder, no larger than such a file can be. Called by the readers of model folders.
// No state: thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>

#include "base/json.h"

namespace fathom {

inline constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

/// Reads and parses the file. Throws Error naming the path if it has more than `limit` bytes or is no JSON.
inline json::value read_bounded_json(const std::filesystem::path& path, uint64_t limit = kMaxConfigBytes) {
  return parse_json(read_text_file(path, limit), path.string());
}

}  // namespace fathom
