#include "formats/absent_file.h"

#include <array>

#include "base/error.h"

namespace fathom {
namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 6> kUnfinished = {".incomplete", ".part",  ".partial",
                                                         ".crdownload", ".aria2", ".tmp"};

/// An unfinished file that will become `path`; empty where there is none.
fs::path unfinished_of(const fs::path& path) {
  std::error_code ec;
  for (std::string_view ending : kUnfinished)
    if (fs::path candidate = path.string() + std::string(ending); fs::exists(candidate, ec)) return candidate;
  // huggingface_hub names unfinished files by hash, in a folder of its own beside the model.
  const fs::path hub = path.parent_path() / ".cache" / "huggingface" / "download";
  for (fs::directory_iterator it(hub, ec), end; !ec && it != end; it.increment(ec))
    if (it->path().extension() == ".incomplete") return it->path();
  return {};
}

}  // namespace

bool is_unfinished(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (std::string_view ending : kUnfinished)
    if (extension == ending) return true;
  return false;
}

void require_present(const fs::path& path, std::string_view role) {
  std::error_code ec;
  if (fs::exists(path, ec)) return;
  const fs::path unfinished = unfinished_of(path);
  if (!unfinished.empty())
    throw Error(cat(path.string(), ": ", role, " is still downloading (", unfinished.filename().string(), ")"));
  throw Error(cat(path.string(), ": ", role, " is missing"));
}

bool is_pickle(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

void refuse_pickle(const fs::path& path) {
  if (is_pickle(path))
    throw Error(cat(path.string(),
                    ": pickled weights are not read, since loading them can run code; expected safetensors "
                    "or GGUF"));
}

}  // namespace fathom
