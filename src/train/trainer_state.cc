#include "train/trainer_state.h"

#include <fmt/format.h>

#include <cstring>
#include <map>

#include "base/checksum.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "formats/atomic_file.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr char kJson[] = "trainer.json", kTensors[] = "trainer.safetensors";
constexpr char kFormat[] = "fathom-trainer", kChecksum[] = "checksum";
constexpr int64_t kVersion = 1;

std::string hex_checksum(std::span<const std::byte> bytes) { return fmt::format("{:016x}", checksum(bytes)); }

/// Of all that trainer.json says, except its own checksum.
std::string own_checksum(json::object object) {
  object.erase(kChecksum);
  const std::string text = to_json(object);
  return hex_checksum(std::as_bytes(std::span(text)));
}

json::object describe_file(const fs::path& path) {
  const InputFile file(path);
  const MappedFile mapped(file);
  return {{"bytes", file.size()}, {kChecksum, hex_checksum(mapped.bytes())}};
}

void require_file(const fs::path& folder, const std::string& name, const JsonObject& stored) {
  if (fs::path(name).filename() != name)
    throw Error(cat(stored.what(), ": expected the name of a file beside it, found ", printable(name)));
  const fs::path path = folder / name;
  const json::object found = describe_file(path);
  const int64_t bytes = stored.integer("bytes");
  if (const int64_t size = found.at("bytes").to_number<int64_t>(); size != bytes)
    throw Error(cat(path.string(), ": expected the ", bytes, " bytes of its checkpoint, found ", size));
  const std::string want = stored.string(kChecksum);
  if (const std::string_view got = found.at(kChecksum).as_string(); got != want)
    throw Error(cat(path.string(), ": expected checksum ", printable(want), ", found ", got,
                    ": the file is damaged or of another checkpoint"));
}

uint64_t count_of(const JsonObject& object, std::string_view key) {
  const int64_t count = object.integer(key);
  if (count < 0) throw Error(cat(object.what(), ": ", key, ": expected at least 0, found ", count));
  return static_cast<uint64_t>(count);
}

void require_identity(const JsonObject& stored, const RunIdentity& identity) {
  for (const auto& [name, want] : identity) {
    if (!stored.has(name)) throw Error(cat(stored.what(), ": ", name, ": expected ", want, ", found none"));
    if (const std::string found = stored.string(name); found != want)
      throw Error(cat(stored.what(), ": ", name, ": expected ", want, ", found ", printable(found),
                      ": a resumed run would not be the same run"));
  }
  if (stored.raw().size() != identity.size())
    throw Error(cat(stored.what(), ": expected ", identity.size(), " entries, found ", stored.raw().size()));
}

/// The stored tensor for each of `tensors`; nothing may be missing or left.
std::vector<Tensor> match_tensors(const SafetensorsFile& file, const NamedTensors& tensors) {
  std::vector<Tensor> stored;
  for (const auto& [name, live] : tensors) {
    stored.push_back(file.tensor(name));
    const std::string what = cat(file.path().string(), ": tensor ", name);
    if (stored.back().dtype() != live.dtype())
      throw Error(cat(what, ": expected type ", live.dtype(), ", found ", stored.back().dtype()));
    if (stored.back().shape() != live.shape())
      throw Error(cat(what, ": expected shape ", live.shape(), ", found ", stored.back().shape()));
  }
  if (file.ranges().size() == tensors.size()) return stored;
  std::map<std::string_view, bool> known;
  for (const auto& [name, live] : tensors) known[name] = true;
  for (const StoredRange& range : file.ranges())
    if (!known.contains(range.info.name))
      throw Error(cat(file.path().string(), ": tensor ", printable(range.info.name),
                      ": expected only what this run trains, found one more"));
  return stored;
}

}  // namespace

void save_trainer_state(const fs::path& folder, const TrainerProgress& progress, const RunIdentity& identity,
                        const NamedTensors& tensors, std::span<const std::string> files) {
  write_safetensors(folder / kTensors, tensors);
  json::object checked{{kTensors, describe_file(folder / kTensors)}};
  for (const std::string& name : files) checked[name] = describe_file(folder / name);
  json::object same;
  for (const auto& [name, value] : identity) same[name] = value;
  json::object object{{"format", kFormat},         {"version", kVersion}, {"step", progress.step},
                      {"tokens", progress.tokens}, {"identity", same},    {"files", checked}};
  object[kChecksum] = own_checksum(object);
  const std::string text = to_json(object, {.indent = 2, .key_sep = ": "}) + "\n";
  AtomicFile out(folder / kJson);
  out.write(text.data(), text.size());
  out.commit();
}

TrainerProgress load_trainer_state(const fs::path& folder, const RunIdentity& identity, const NamedTensors& tensors) {
  const fs::path path = folder / kJson;
  const json::value value = read_bounded_json(path);
  const JsonObject object(value, path.string());
  if (const std::string format = object.string("format"); format != kFormat)
    throw Error(cat(path.string(), ": format: expected ", kFormat, ", found ", printable(format)));
  if (const int64_t version = object.integer("version"); version != kVersion)
    throw Error(cat(path.string(), ": version: expected ", kVersion, ", found ", version));
  const std::string want = own_checksum(object.raw()), found = object.string(kChecksum);
  if (found != want)
    throw Error(cat(path.string(), ": expected checksum ", want, " for what it says, found ", printable(found),
                    ": the file is damaged"));
  const TrainerProgress progress{count_of(object, "step"), count_of(object, "tokens")};
  require_identity(object.object("identity"), identity);
  const JsonObject files = object.object("files");
  if (!files.has(kTensors)) throw Error(cat(files.what(), ": expected ", kTensors, ", found none"));
  for (const auto& file : files.raw()) require_file(folder, file.key(), files.object(file.key()));

  const SafetensorsFile file(folder / kTensors);
  const std::vector<Tensor> stored = match_tensors(file, tensors);
  for (size_t i = 0; i < tensors.size(); ++i)
    std::memcpy(tensors[i].second.bytes(), stored[i].bytes(), stored[i].size_bytes());
  return progress;
}

}  // namespace fathom
