#include "quant/convert_safetensors_folder.h"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/checked.h"
#include "base/json.h"
#include "formats/safetensors_writer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

using Shard = std::vector<WeightToWrite>;

/// In the order given, a new shard where the next tensor does not fit.
std::vector<Shard> into_shards(std::vector<WeightToWrite> weights, uint64_t max_bytes) {
  std::vector<Shard> shards;
  uint64_t used = 0;
  for (WeightToWrite& w : weights) {
    if (shards.empty() || used > max_bytes || w.info.size_bytes > max_bytes - used) {
      shards.emplace_back();
      used = 0;
    }
    used += w.info.size_bytes;
    shards.back().push_back(std::move(w));
  }
  // Wider types first: every tensor is then aligned for its type, whatever stands before it.
  for (Shard& shard : shards)
    std::stable_sort(shard.begin(), shard.end(), [](const WeightToWrite& a, const WeightToWrite& b) {
      return info(a.info.dtype).block_bytes > info(b.info.dtype).block_bytes;
    });
  return shards;
}

std::string shard_name(size_t number, size_t of) {
  if (of == 1) return "model.safetensors";
  const auto five = [](size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return cat("model-", five(number), "-of-", five(of), ".safetensors");
}

/// What changes of type did, per type: how many values of how many tensors, and the first of them by name.
class LossNotes {
 public:
  void add(const TensorInfo& tensor, const ValueLoss& loss) {
    if (loss.rounded == 0) return;
    Total& total = totals_[tensor.dtype];
    if (total.tensors++ == 0) total.first = tensor.name;
    total.loss += loss;
    if (loss.overflowed == 0) return;
    if (total.overflowing++ < 3) total.overflow_names += (total.overflow_names.empty() ? "" : ", ") + tensor.name;
  }
  void append_to(std::vector<std::string>& notes) const {
    for (const auto& [type, total] : totals_) {
      notes.push_back(cat(total.loss.rounded, " values of ", total.tensors, " tensors were rounded to ", type,
                          " (the first is ", total.first, ")"));
      if (total.overflowing == 0) continue;
      notes.push_back(cat(total.loss.overflowed, " values of ", total.overflowing, " tensors are too large for ", type,
                          " and became infinite: ", total.overflow_names, total.overflowing > 3 ? ", ..." : ""));
    }
  }

 private:
  struct Total {
    ValueLoss loss;
    size_t tensors = 0, overflowing = 0;
    std::string first, overflow_names;
  };
  std::map<DType, Total> totals_;
};

std::string index_json(const std::map<std::string, std::string>& file_of, uint64_t total_bytes) {
  json::object weight_map;
  for (const auto& [tensor, file] : file_of) weight_map[tensor] = file;
  return to_json(json::object{{"metadata", json::object{{"total_size", total_bytes}}}, {"weight_map", weight_map}},
                 {.indent = 2, .key_sep = ": "}) +
         "\n";
}

}  // namespace

FolderAside::FolderAside(const fs::path& target)
    : target_(target.has_filename() ? target : target.parent_path()), aside_(target_) {
  std::error_code ec;
  const fs::file_status status = fs::symlink_status(target_, ec);
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(target_, ec)))
    throw Error(cat(target_.string(), ": expected a folder that does not exist yet, or an empty one"));
  aside_ += cat(".", ::getpid(), ".writing");
  if (!fs::create_directory(aside_, ec) || ec) {
    done_ = true;  // nothing to remove
    throw Error(cat(aside_.string(), ": cannot be made: ", ec ? ec.message() : "it exists"));
  }
}

FolderAside::~FolderAside() {
  std::error_code ec;
  if (!done_) fs::remove_all(aside_, ec);
}

void FolderAside::write_text(std::string_view name, std::string_view text) {
  const fs::path path = aside_ / name;
  if (path.parent_path() != aside_) fs::create_directories(path.parent_path());
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

void FolderAside::require_space(uint64_t bytes) const {
  std::error_code ec;
  const fs::space_info space = fs::space(aside_, ec);
  if (!ec && space.available < bytes)
    throw ResourceError(
        cat(target_.string(), ": needs ", bytes, " bytes, and the disk has ", space.available, " bytes left"));
}

void FolderAside::commit() {
  std::error_code ec;
  fs::rename(aside_, target_, ec);
  if (ec) throw Error(cat(target_.string(), ": renaming failed: ", ec.message()));
  done_ = true;
}

void write_weights(const Checkpoint& checkpoint, std::vector<WeightToWrite> weights, FolderAside& folder,
                   const FolderOptions& options, const WorkProgress& progress, FolderReport& report) {
  uint64_t total = 0;
  for (WeightToWrite& w : weights) {
    w.info.size_bytes = stored_bytes(cat("tensor ", printable(w.info.name)), w.info.dtype, w.info.shape);
    const std::optional<uint64_t> sum = checked_add(total, w.info.size_bytes);
    if (!sum) throw Error("the tensors are too large for any disk");
    total = *sum;
  }
  folder.require_space(total);
  report.tensors = weights.size();
  report.bytes = total;
  ThreadPool pool(options.threads ? options.threads : physical_cores());
  WeightConverter converter(checkpoint, pool);
  LossNotes losses;
  std::map<std::string, std::string> file_of;
  uint64_t done = 0;
  const std::vector<Shard> shards = into_shards(std::move(weights), options.max_shard_bytes);
  for (const Shard& shard : shards) {
    const std::string name = shard_name(++report.files, shards.size());
    std::vector<TensorInfo> infos;
    for (const WeightToWrite& w : shard) {
      infos.push_back(w.info);
      if (!file_of.emplace(w.info.name, name).second)
        throw Error(cat("tensor ", printable(w.info.name), " comes from two tensors of the model"));
    }
    SafetensorsWriter writer(folder.path() / name, std::move(infos), {{"format", "pt"}});
    for (const WeightToWrite& w : shard) {
      const auto sink = [&](std::span<const std::byte> bytes) {
        writer.write(bytes);
        if (progress) progress(done += bytes.size(), total);
      };
      losses.add(w.info, converter.convert(w, sink));
    }
    writer.commit();
  }
  if (shards.size() > 1) folder.write_text("model.safetensors.index.json", index_json(file_of, total));
  losses.append_to(report.notes);
}

}  // namespace fathom
