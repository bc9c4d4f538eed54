// Why a model file cannot be read: never fetched, still on its way, or pickled. Called by the readers of split
// models. No state: thread-safe.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

/// Whether the name ends as the downloaders' unfinished files do: .incomplete, .part, .partial, .crdownload, .aria2,
/// .tmp.
bool is_unfinished(const std::filesystem::path& path);

/// Throws Error if the file is absent: "<path>: missing" with `role` ("shard 2 of 3"), or "still downloading" where an
/// unfinished file of that name lies beside it, or the hub's own download folder has one.
void require_present(const std::filesystem::path& path, std::string_view role);

/// Whether the name ends as pickled weights do: .bin, .pt, .pth, .ckpt.
bool is_pickle(const std::filesystem::path& path);
/// Throws Error saying why, if it is one.
void refuse_pickle(const std::filesystem::path& path);

}  // namespace fathom
