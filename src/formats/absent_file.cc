#include "formats/absent_file.h"

#include <algorithm>
#include <array>
#include <cstring>

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

constexpr const char* kPickleAdvice =
    "pickled weights are not read, since loading them can run code; take the publisher's safetensors or GGUF files";

/// Where a tar archive names itself.
constexpr size_t kTarMark = 257;

bool begins_as_safetensors(std::string_view bytes, uint64_t file_size) {
  uint64_t length = 0;
  if (bytes.size() <= sizeof length) return false;
  std::memcpy(&length, bytes.data(), sizeof length);
  return bytes[sizeof length] == '{' && length < file_size;
}

/// Protocols 2 to 5, what torch.save wrote before it made zip archives among them.
bool begins_as_pickle(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

}  // namespace

bool is_unfinished(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (std::string_view ending : kUnfinished)
    if (extension == ending) return true;
  return false;
}

bool is_there(const fs::path& path) {
  std::error_code ec;
  return fs::status(path, ec).type() != fs::file_type::not_found;
}

void require_present(const fs::path& path, std::string_view role) {
  if (is_there(path)) return;
  const fs::path unfinished = unfinished_of(path);
  if (!unfinished.empty())
    throw Error(cat(path.string(), ": ", role, " is still downloading (", unfinished.filename().string(), ")"));
  throw Error(cat(path.string(), ": ", role, " is missing"));
}

bool is_pickle(const fs::path& path) {
  const std::string extension = path.extension().string();
  constexpr std::array<std::string_view, 6> kPickled = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
  return std::find(kPickled.begin(), kPickled.end(), extension) != kPickled.end();
}

void refuse_pickle(const fs::path& path) {
  if (is_pickle(path)) throw Error(cat(path.string(), ": ", kPickleAdvice));
}

void refuse_foreign(const InputFile& file) {
  std::string bytes(std::min<uint64_t>(file.size(), kTarMark + 5), '\0');
  file.read(0, bytes.data(), bytes.size());
  const std::string_view begin = bytes;
  if (begins_as_safetensors(begin, file.size())) return;
  const std::string name = file.path().string();
  if (begins_as_pickle(begin)) throw Error(cat(name, ": this is a pickle, whatever its name says: ", kPickleAdvice));
  if (begin.starts_with("PK\3\4") || begin.starts_with("PK\5\6"))
    throw Error(cat(name, ": this is a zip archive, as torch.save makes them: ", kPickleAdvice));
  if (begin.substr(std::min(begin.size(), kTarMark)) == "ustar")
    throw Error(cat(name, ": this is a tar archive; expected the model that is in it, or: ", kPickleAdvice));
  if (begin.starts_with("version https://git-lfs"))
    throw Error(cat(name, ": this is a Git LFS pointer to the model, not the model: fetch it with git lfs pull"));
  if (begin.starts_with("<!DOCTYPE") || begin.starts_with("<!doctype") || begin.starts_with("<html"))
    throw Error(cat(name, ": this is a web page, not a model: the download brought something else"));
}

}  // namespace fathom
