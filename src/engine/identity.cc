#include "engine/identity.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/hash.h"
#include "base/log.h"
#include "formats/atomic_file.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMemoryFormat = "fathom-weights-ids";

std::string shape_text(const Shape& shape) {
  std::string out;
  for (size_t i = 0; i < shape.rank(); ++i) out += cat(i ? "," : "", shape[i]);
  return out;
}

json::object read_memory(const fs::path& memory) {
  std::error_code ignored;
  if (!fs::exists(memory, ignored)) return {};
  try {
    const json::value value = read_json_file(memory);
    const JsonObject root(value, memory.string());
    if (root.string_or("format", "") == kMemoryFormat) return root.object("ids").raw();
  } catch (const Error&) {  // damaged: nothing is lost, ids are computed again
  }
  return {};
}

void write_memory(const fs::path& memory, const json::object& ids) {
  try {
    fs::create_directories(memory.parent_path());
    AtomicFile file(memory);
    const std::string text =
        to_json(json::object{{"format", kMemoryFormat}, {"version", 1}, {"ids", ids}}, {.indent = 1});
    file.write(text.data(), text.size());
    file.commit();
  } catch (const std::exception& e) {  // a folder that cannot be written: the id is computed again next time
    log(LogLevel::kWarning, cat("weights ids are not remembered: ", e.what()));
  }
}

bool is_id(const json::value& value) {
  return value.is_string() && value.get_string().size() == 64 &&
         std::string_view(value.get_string()).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Erases the entries whose key `is_gone`; returns their ids.
template <class F>
std::vector<std::string> take_out(json::object& ids, const F& is_gone) {
  std::vector<std::string> gone;
  json::object kept;
  for (const auto& [key, id] : ids) {
    if (!is_gone(std::string_view(key)))
      kept[key] = id;
    else if (is_id(id))
      gone.emplace_back(id.get_string());
  }
  ids = std::move(kept);
  return gone;
}

std::vector<std::string> without_known(std::vector<std::string> gone, const json::object& ids) {
  std::erase_if(gone, [&](const std::string& id) {
    return std::any_of(ids.begin(), ids.end(), [&](const auto& entry) { return entry.value() == json::value(id); });
  });
  return gone;
}

}  // namespace

std::string_view name(CacheType type) {
  return type == CacheType::kF32 ? "f32" : type == CacheType::kBF16 ? "bf16" : "q8";
}

std::optional<CacheType> cache_type_from_name(std::string_view text) {
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16, CacheType::kQ8})
    if (text == name(type)) return type;
  return std::nullopt;
}

std::string weights_id(const Checkpoint& checkpoint, const WorkProgress& progress) {
  constexpr size_t kStep = size_t{16} << 20;
  const std::vector<TensorInfo>& tensors = checkpoint.tensors();
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return tensors[a].name < tensors[b].name; });
  Blake2b256 hash;
  uint64_t done = 0;
  for (const size_t i : order) {
    const Tensor data = checkpoint.stored(i);
    hash.update(cat(tensors[i].name, "\n", tensors[i].dtype, "\n", shape_text(tensors[i].shape), "\n"));
    const std::span bytes(reinterpret_cast<const uint8_t*>(data.bytes()), data.size_bytes());
    for (size_t at = 0; at < bytes.size(); at += kStep) {
      const auto piece = bytes.subspan(at, std::min(kStep, bytes.size() - at));
      hash.update(piece);
      if (progress) progress(done += piece.size(), checkpoint.weight_bytes());
    }
    checkpoint.release(data);
  }
  return hash.hex();
}

std::string WeightsIdMemory::stamp(const fs::path& model) {
  std::vector<fs::path> files;
  if (fs::is_directory(model)) {
    for (const auto& entry : fs::directory_iterator(model)) files.push_back(entry.path());
  } else {  // a split model's other parts lie beside it
    const std::string name = model.filename().string();
    const size_t part = name.find("-00001-of-");
    for (const auto& entry : fs::directory_iterator(fs::absolute(model).parent_path()))
      if (entry.path().filename() == model.filename() ||
          (part != std::string::npos && entry.path().filename().string().starts_with(name.substr(0, part))))
        files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string out = fs::weakly_canonical(model).string();
  std::error_code ignored;
  for (const fs::path& file : files)
    out += cat("|", file.filename().string(), ":", fs::file_size(file, ignored), ":",
               fs::last_write_time(file, ignored).time_since_epoch().count());
  return out;
}

std::optional<std::string> WeightsIdMemory::recall(const std::string& stamp) const {
  const json::object ids = read_memory(file_);
  const json::value* known = ids.if_contains(stamp);
  return known && is_id(*known) ? std::optional<std::string>(known->get_string()) : std::nullopt;
}

std::vector<std::string> WeightsIdMemory::remember(const std::string& stamp, const std::string& id) const {
  json::object ids = read_memory(file_);
  const std::string path = stamp.substr(0, stamp.find('|') + 1);
  const std::vector<std::string> gone = take_out(ids, [&](std::string_view key) { return key.starts_with(path); });
  ids[stamp] = id;
  write_memory(file_, ids);
  return without_known(gone, ids);
}

std::vector<std::string> WeightsIdMemory::forget(const fs::path& model) const {
  json::object ids = read_memory(file_);
  const std::string path = fs::weakly_canonical(model).string();
  const std::vector<std::string> gone =
      take_out(ids, [&](std::string_view key) { return key.starts_with(path + "|") || key.starts_with(path + "/"); });
  if (!gone.empty()) write_memory(file_, ids);
  return without_known(gone, ids);
}

std::string numerics_id(const std::string& weights_id, Profile profile, CacheType cache, const std::string& adapter) {
  Blake2b256 hash;
  hash.update(cat("fathom-numerics-1 weights=", weights_id, " adapter=", adapter, " profile=", name(profile),
                  " cache=", name(cache)));
  return hash.hex();
}

}  // namespace fathom
