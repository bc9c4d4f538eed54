#include <algorithm>
#include <set>

#include "formats/absent_file.h"
#include "formats/config_json.h"
#include "formats/json_file.h"
#include "formats/mapped_checkpoint.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_json.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;

/// Why a folder without model.safetensors and without an index has no weights.
[[noreturn]] void throw_no_weights(const fs::path& folder) {
  fs::path pickle, shard, unfinished;
  std::error_code ec;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ec)) {
    if (is_unfinished(entry.path()))
      unfinished = entry.path();
    else if (is_pickle(entry.path()))
      pickle = entry.path();
    else if (entry.path().extension() == ".safetensors")
      shard = entry.path();
  }
  if (!unfinished.empty()) throw Error(cat(unfinished.string(), ": the weights are still downloading"));
  if (!shard.empty() && shard.filename().string().find("-of-") != std::string::npos)
    throw Error(cat(folder.string(), ": model.safetensors.index.json is missing beside ", shard.filename().string()));
  if (!pickle.empty()) refuse_pickle(pickle);
  require_present(folder / "model.safetensors", "the weights' file");
  throw Error(cat(folder.string(), ": no weights found"));
}

}  // namespace

std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  const json::value value = read_bounded_json(index, kMaxIndexBytes);
  const JsonObject map = JsonObject(value, index.string()).object("weight_map");
  std::map<std::string, std::string> out;
  for (const auto& [key, file] : map.raw()) {
    const std::string name = map.string(key);
    if (fs::path(name).filename() != name || name.empty() || name == "." || name == ".." ||
        name.find('\0') != std::string::npos)
      throw Error(cat(map.what(), ": ", printable(key), ": expected the name of a file beside the index, found ",
                      name.empty() ? "none" : printable(name)));
    out[std::string(key)] = name;
  }
  return out;
}

namespace {

class HfCheckpoint final : public MappedCheckpoint {
 public:
  explicit HfCheckpoint(const fs::path& folder) : folder_(folder) {
    what_ = folder.string();
    read_configs();
    if (is_there(folder / "model.safetensors"))
      add_file(folder / "model.safetensors");
    else if (is_there(folder / "model.safetensors.index.json"))
      add_shards();
    else
      throw_no_weights(folder);
    // config.json names MTP modules that some copies of a checkpoint leave out.
    if (!has(cat("model.layers.", config_.num_hidden_layers, ".eh_proj.weight"))) config_.num_nextn_predict_layers = 0;
  }

  std::optional<TokenizerSpec> tokenizer() const override { return tokenizer_from_folder(folder_); }

  Tensor stored(size_t index) const override {
    const std::string& name = tensors()[index].name;
    return files_[file_of_.at(name)].tensor(name);
  }
  std::string description() const override {
    return cat("Hugging Face folder, ", files_.size(), " safetensors file", files_.size() == 1 ? "" : "s", ", ",
               tensors().size(), " tensors");
  }

 protected:
  std::optional<Place> place(std::string_view name) const override {
    if (std::optional<Located> data = locate(name)) return Place{*data, locate(cat(name, "_scale_inv"))};
    const std::optional<ExpertName> expert = expert_name(name);
    return expert ? place_expert(*expert) : std::nullopt;
  }

 private:
  void read_configs() {
    require_present(folder_ / "config.json", "the model's configuration");
    const json::value value = read_bounded_json(folder_ / "config.json");
    config_ = config_from_json(JsonObject(value, (folder_ / "config.json").string()));
    const fs::path path = folder_ / "generation_config.json";
    if (!is_there(path)) return;
    const json::value generation = read_bounded_json(path);
    const JsonObject object(generation, path.string());
    generation_config_ = generation_config_from_json(object);
    std::vector<int>& eos = config_.eos_token_ids;
    const std::vector<int> more = token_ids(object, "eos_token_id");
    eos.insert(eos.end(), more.begin(), more.end());
    std::sort(eos.begin(), eos.end());
    eos.erase(std::unique(eos.begin(), eos.end()), eos.end());
    validate(config_, path.string());
  }

  void add_file(const fs::path& path) {
    SafetensorsFile file(path);
    for (const StoredRange& range : file.ranges()) {
      if (!file_of_.emplace(range.info.name, files_.size()).second)
        throw Error(cat(path.string(), ": tensor ", printable(range.info.name), " is in another shard too"));
      add_tensor(range.info);
    }
    mappings_.push_back(file.mapping());
    files_.push_back(std::move(file));
  }

  void add_shards() {
    const std::map<std::string, std::string> weight_map = read_weight_map(folder_ / "model.safetensors.index.json");
    std::set<std::string> names;
    for (const auto& [tensor, file] : weight_map) names.insert(file);
    if (names.empty())
      throw Error(cat((folder_ / "model.safetensors.index.json").string(), ": weight_map: expected files, found none"));
    size_t number = 0;
    for (const std::string& name : names) {
      require_present(folder_ / name, cat("shard ", ++number, " of ", names.size()));
      add_file(folder_ / name);
    }
    for (const auto& [tensor, file] : weight_map)
      if (const auto it = file_of_.find(tensor); it == file_of_.end() || files_[it->second].path().filename() != file)
        throw Error(cat((folder_ / file).string(), ": tensor ", printable(tensor),
                        " is missing, which the index says is here"));
  }

  std::optional<Located> locate(std::string_view name) const {
    const auto it = file_of_.find(name);
    return it == file_of_.end() ? std::nullopt : files_[it->second].locate(name);
  }

  /// transformers 5 may stack experts: mlp.experts.gate_up_proj [E, 2F, D], down_proj [E, D, F].
  std::optional<Place> place_expert(const ExpertName& expert) const {
    const bool merged = expert.projection != "down_proj";
    const std::string stack = expert.stack + (merged ? ".gate_up_proj" : ".down_proj");
    const std::optional<Located> data = locate(stack);
    if (!data) return std::nullopt;
    const std::optional<Located> one = expert_of(*data, expert, merged);
    if (!one) return std::nullopt;
    const std::optional<Located> scales = locate(stack + "_scale_inv");
    if (!scales) return Place{*one, std::nullopt};
    if (merged && one->shape()[0] % 128 != 0)
      throw Error(cat(what_, ": tensor ", stack, ": expected gate and up rows in whole FP8 blocks of 128, found ",
                      one->shape()));
    return Place{*one, expert_of(*scales, expert, merged)};
  }

  fs::path folder_;
  std::vector<SafetensorsFile> files_;
  NameMap<size_t> file_of_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_hf_folder(const fs::path& folder) { return std::make_unique<HfCheckpoint>(folder); }

}  // namespace fathom
