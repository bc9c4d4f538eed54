// A loaded model with all it needs to compute: weights, backend, KV pool, tokenizer, template. Loaded once; its
// changing parts (backend, pool, scratch) belong to one compute thread, the rest may be read by any thread.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cache/kv_cache.h"
#include "cache/prefix_cache.h"
#include "engine/speculation.h"
#include "formats/checkpoint.h"
#include "models/adapter.h"
#include "models/model.h"
#include "sampling/grammar/token_trie.h"
#include "sampling/script_mask.h"
#include "text/chat_template.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace fathom {

struct EngineOptions {
  std::optional<Profile> profile;       ///< nullopt: by the file (spec/numerics.md 1)
  std::optional<CacheType> cache_type;  ///< nullopt: f32 for exact, else bf16
  size_t threads = 0;                   ///< 0: physical cores
  size_t ctx = 0;                       ///< positions; 0: what fits (DESIGN.md 4)
  size_t least_ctx = 0;                 ///< with ctx 0: refused where fewer fit, or fewer than the model has
  size_t sequences = 1;                 ///< how many full contexts the pool can hold
  bool fill_memory = false;             ///< it holds more, what 60% of free memory has room for, up to 8
  const Kernels* kernels = nullptr;     ///< null: the best table
  uint64_t promised_bytes = 0;          ///< of the free memory, what others may still take
  size_t prefill_chunk = 512;
  std::filesystem::path adapter;  ///< folder of a LoRA adapter in peft's format; empty: none
  LoadProgress progress;
  /// Where weights ids are remembered (engine/identity.h); empty: the ids are not computed.
  std::filesystem::path identity_memory;
  /// Where repacked weights are kept for the next start (models/repack_file.h), of models with at least so many bytes
  /// of them; needs identity_memory. Empty: nowhere.
  std::filesystem::path repack_folder;
  uint64_t least_repacked_bytes = uint64_t{64} << 20;
};

/// What the first line of every run says, and `fathom config` in full.
struct EngineInfo {
  std::string path, description;
  Profile profile = Profile::kExact;
  CacheType cache_type = CacheType::kF32;
  const char* kernels = "";
  size_t threads = 1, ctx = 0, model_ctx = 0;
  uint64_t weight_bytes = 0, kv_bytes_per_token = 0;
  std::vector<std::string> notes;       ///< what was assumed or left out, for the person to see
  std::string adapter;                  ///< "NAME (r 8, 60 matrices)"; empty: none
  std::string repacked;                 ///< the file of repacked weights that was read; empty: none
  std::string weights_id, numerics_id;  ///< spec/numerics.md 9; empty where they were not asked for
};

/// How a run computes: as asked, or by the file. Throws UsageError for a profile that the kernels do not have.
struct RunNumerics {
  const Kernels* kernels;  ///< never null
  Profile profile;
  CacheType cache_type;
};
RunNumerics choose_numerics(const EngineOptions& options, const std::vector<TensorInfo>& tensors);

class Engine {
 public:
  /// Throws Error for a broken file or an adapter that does not fit the model, UsageError for an impossible option,
  /// ResourceError with the numbers where memory does not suffice, before weights are read.
  static std::unique_ptr<Engine> load(const std::filesystem::path& path, const EngineOptions& options);

  /// An engine around a model in memory, such as a trainer's snapshot; its weights are not copied. Computes as training
  /// does unless asked otherwise: exact, with a cache of f32. `tokenizer`: null where there is none; generation then
  /// ends by the configuration's eos_token_ids alone. Of the options, what concerns files is not read; an adapter comes
  /// by publish. Throws as load does.
  static std::unique_ptr<Engine> from_model(std::shared_ptr<const Model> model,
                                            std::unique_ptr<const Tokenizer> tokenizer, const EngineOptions& options);

  const EngineInfo& info() const { return info_; }
  const Model& model() const { return *model_; }
  const ModelConfig& config() const { return model_->config(); }
  const GenerationConfig& generation_config() const { return generation_config_; }
  /// Throws Error where the model has none.
  const Tokenizer& tokenizer() const;
  const ChatTemplate& chat_template() const;
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  bool has_chat_template() const { return chat_template_ != nullptr; }
  bool is_end_of_generation(TokenId id) const;
  /// How the model marks thinking and tool calls, by its template and vocabulary.
  const OutputFormat& output_format() const { return output_format_; }
  const KvLayout& kv_layout() const { return pool_->layout(); }
  /// What the pool takes when it is full.
  uint64_t pool_bytes() const { return uint64_t{pool_->max_pages()} * kv_layout().page_bytes; }
  /// The vocabulary as grammars read it; made when it is first asked for, by any thread. Throws Error where the model
  /// has no tokenizer.
  const TokenTrie& token_trie() const;
  /// The tokens that keep to these scripts; made when they are first asked for, by any thread. Throws Error where the
  /// model has no tokenizer.
  std::shared_ptr<const ScriptMask> script_mask(ScriptSet scripts) const;
  /// Another chat template than the model's own.
  void set_chat_template(std::string source);

  // ---- for the compute thread
  /// Computes with another model of the same configuration from now on, such as a trainer's next snapshot, and with the
  /// adapter beside it (made for that model; null: none). The old ones are let go. No session may hold cached
  /// positions: they were computed with the old weights.
  void publish(std::shared_ptr<const Model> model, std::shared_ptr<const Adapter> adapter = nullptr);
  Context context() {
    return {.backend = *backend_, .profile = info_.profile, .arenas = &arenas_, .adapter = adapter_.get()};
  }
  KvPool& pool() { return *pool_; }
  PrefixCache& prefixes() { return *prefixes_; }
  size_t prefill_chunk() const { return prefill_chunk_; }
  const PassCost& pass_cost() const { return pass_cost_; }

 private:
  Engine() = default;
  void choose_how_to_run(const EngineOptions& options, const RunNumerics& numerics, const ModelConfig& config,
                         uint64_t resident_bytes);
  void make_pool();

  EngineInfo info_;
  size_t prefill_chunk_ = 512, pool_pages_ = 0;
  PassCost pass_cost_;
  GenerationConfig generation_config_;
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const Adapter> adapter_;             // null: none
  std::unique_ptr<const Tokenizer> tokenizer_;         // null: the model has none
  std::unique_ptr<const ChatTemplate> chat_template_;  // null: the model has none
  OutputFormat output_format_;
  mutable std::once_flag token_trie_made_;
  mutable std::unique_ptr<const TokenTrie> token_trie_;
  mutable std::mutex script_masks_mutex_;
  mutable std::map<uint32_t, std::shared_ptr<const ScriptMask>> script_masks_;  // by the set's bits
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvPool> pool_;
  std::unique_ptr<PrefixCache> prefixes_;  // after the pool, whose pages it holds
  LayerArenas arenas_;
};

/// The default profile for a checkpoint (spec/numerics.md 1), by the bytes of its tensors.
Profile default_profile(const std::vector<TensorInfo>& tensors, bool has_bf16_unit);

}  // namespace fathom
