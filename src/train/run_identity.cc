#include "train/run_identity.h"

#include <algorithm>

#include "base/hash.h"
#include "base/mapped_file.h"

namespace fathom {
namespace {

/// BLAKE2b-256 of the files' contents, in hex; of a folder its weights.
std::string contents_hash(const std::vector<std::filesystem::path>& files) {
  Blake2b256 hash;
  for (const std::filesystem::path& path : files) {
    if (std::filesystem::is_directory(path)) {
      std::vector<std::filesystem::path> weights;
      for (const auto& entry : std::filesystem::directory_iterator(path))
        if (const auto kind = entry.path().extension(); kind == ".safetensors" || kind == ".gguf")
          weights.push_back(entry.path());
      std::sort(weights.begin(), weights.end());
      hash.update(contents_hash(weights));
      continue;
    }
    const MappedFile mapped{InputFile(path)};
    hash.update({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()});
  }
  return hash.hex();
}

}  // namespace

RunIdentity run_identity(const Recipe& recipe, const TrainOptions& options) {
  Recipe r = recipe;
  r.name.clear();
  r.energy = {};
  r.train.threads = 0, r.train.micro_batch = 0, r.train.recompute = false;
  r.train.eval_every = r.train.eval_batches = r.train.save_every = r.train.sample_every = 0, r.train.keep = 2;
  const bool draws = recipe.stage == "reject";
  if (draws) r.train.batch = 8;
  Blake2b256 hash;
  hash.update(to_toml(r));
  std::vector<std::filesystem::path> data(recipe.data.train.begin(), recipe.data.train.end());
  data.insert(data.end(), recipe.data.validation.begin(), recipe.data.validation.end());
  return {{"recipe", hash.hex()},
          {"profile", recipe.train.profile},
          {"data", contents_hash(data)},
          {"frozen model", recipe.lora.rank != 0 || draws ? contents_hash({options.start}) : "none"},
          {"teacher", recipe.stage == "distill" ? contents_hash({options.teacher}) : "none"}};
}

}  // namespace fathom
