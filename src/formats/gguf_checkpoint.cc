#include <algorithm>

#include "formats/config_gguf.h"
#include "formats/gguf.h"
#include "formats/mapped_checkpoint.h"
#include "formats/tokenizer_gguf.h"

namespace fathom {
namespace {

class GgufCheckpoint final : public MappedCheckpoint {
 public:
  explicit GgufCheckpoint(const std::filesystem::path& path) : file_(path) {
    what_ = path.string();
    config_ = config_from_gguf(file_, &notes_);
    generation_config_ = generation_config_from_gguf(file_.metadata());
    mappings_ = file_.parts_mapped();
    for (const TensorInfo& t : file_.tensors()) add_tensor(t);
    if (const std::optional<TokenizerSpec> spec = tokenizer()) {
      config_.bos_token_id = spec->bos.value_or(-1);
      config_.eos_token_ids.assign(spec->end_of_generation.begin(), spec->end_of_generation.end());
      validate(config_, what_);
    }
  }

  std::optional<TokenizerSpec> tokenizer() const override { return tokenizer_from_gguf(file_.metadata()); }

  std::vector<std::string> notes() const override { return notes_; }
  Tensor stored(size_t index) const override { return file_.tensor(tensors()[index].name); }
  std::string description() const override {
    std::string text = cat("GGUF v", file_.version(), ", ", file_.tensors().size(), " tensors");
    if (file_.parts() > 1) text += cat(" in ", file_.parts(), " files");
    for (const std::string& note : notes_) text += "; " + note;
    return text;
  }

 protected:
  std::optional<Place> place(std::string_view name) const override {
    std::optional<Located> found;
    if (const std::optional<ExpertName> expert = expert_name(name))
      found = place_expert(*expert);
    else if (const std::optional<std::string> gguf = gguf_name(name))
      found = file_.locate(*gguf);
    if (!found) return std::nullopt;
    return Place{*found, std::nullopt};
  }

 private:
  std::optional<Located> place_expert(const ExpertName& expert) const {
    if (const auto stack = file_.locate(gguf_expert_stack(expert.layer, expert.projection)))
      return expert_of(*stack, expert, /*merged=*/false);
    if (expert.projection == "down_proj") return std::nullopt;
    const std::optional<Located> both = file_.locate(gguf_merged_stack(expert.layer));
    return both ? expert_of(*both, expert, /*merged=*/true) : std::nullopt;
  }

  GgufFile file_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& file) {
  return std::make_unique<GgufCheckpoint>(file);
}

}  // namespace fathom
