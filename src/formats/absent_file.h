// Why a model file cannot be read: never fetched, still on its way, pickled, or something else under a model's name.
// Called by the readers of models. No state: thread-safe.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "base/mapped_file.h"

namespace fathom {

/// Whether the name ends as the downloaders' unfinished files do: .incomplete, .part, .partial, .crdownload, .aria2,
/// .tmp.
bool is_unfinished(const std::filesystem::path& path);

/// Whether anything has this name. A link that leads nowhere by turning in a circle counts: opening it says what is
/// wrong. Throws nothing.
bool is_there(const std::filesystem::path& path);

/// Throws Error if the file is absent: "<path>: missing" with `role` ("shard 2 of 3"), or "still downloading" where an
/// unfinished file of that name lies beside it, or the hub's own download folder has one.
void require_present(const std::filesystem::path& path, std::string_view role);

/// Whether the name ends as pickled weights do: .bin, .pt, .pth, .ckpt, .pkl, .pickle.
bool is_pickle(const std::filesystem::path& path);
/// Throws Error saying why, if it is one.
void refuse_pickle(const std::filesystem::path& path);
/// Throws Error saying what the file is if it begins as a pickle, an archive, a Git LFS pointer or a web page does,
/// whatever its name is. A header of safetensors is never taken for one.
void refuse_foreign(const InputFile& file);

}  // namespace fathom
