#include "formats/checkpoint.h"

#include "formats/absent_file.h"
#include "formats/mapped_checkpoint.h"

namespace fathom {
namespace fs = std::filesystem;

namespace {

/// The GGUF model in a folder that is no Hugging Face folder; empty where there is none. Throws Error if there are two.
fs::path only_gguf(const fs::path& folder) {
  fs::path found;
  std::error_code ec;
  fs::directory_iterator entries(folder, ec);
  if (ec) throw Error(cat(folder.string(), ": cannot be listed: ", ec.message()));
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".gguf") continue;
    if (name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos) continue;
    if (!found.empty())
      throw Error(
          cat(folder.string(), ": has several GGUF models (", found.filename().string(), ", ", name, "): name one"));
    found = entry.path();
  }
  return found;
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path) {
  require_present(path, "the model");
  std::error_code ec;
  if (fs::is_directory(path, ec)) {
    const fs::path gguf = is_there(path / "config.json") ? fs::path() : only_gguf(path);
    return gguf.empty() ? open_hf_folder(path) : open_gguf(gguf);
  }
  if (is_unfinished(path)) throw Error(cat(path.string(), ": still downloading"));
  refuse_pickle(path);
  refuse_foreign(InputFile(path));
  if (path.extension() == ".safetensors")
    throw Error(cat(path.string(), ": expected the folder of the model, with config.json, found one of its files"));
  return open_gguf(path);
}

}  // namespace fathom
