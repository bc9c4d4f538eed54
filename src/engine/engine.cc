#include "engine/engine.h"

#include <algorithm>
#include <fstream>

#include "base/checked.h"
#include "base/thread_pool.h"
#include "engine/identity.h"

namespace fathom {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

std::string gib(uint64_t bytes) {
  std::ostringstream out;
  out.precision(2);
  out << std::fixed << static_cast<double>(bytes) / kGiB << " GiB";
  return out.str();
}

std::optional<uint64_t> number_in(const char* path) {
  uint64_t value = 0;
  if (std::ifstream in(path); in >> value) return value;
  return std::nullopt;  // absent, or "max"
}

/// The number behind `key` in a file of "key number ..." lines; 0 where there is none.
uint64_t keyed_number(const char* path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    if (uint64_t value = 0; words >> word && word == key && words >> value) return value;
  }
  return 0;
}

/// Scratch of a forward over a chunk: a few activations as wide as the model's widest rows.
uint64_t scratch_bytes(const ModelConfig& c, size_t chunk) {
  const uint64_t attention =
      c.is_mla()
          ? c.num_attention_heads * (3 * c.kv_lora_rank + 2 * c.qk_rope_head_dim + c.qk_nope_head_dim + c.v_head_dim)
          : 3 * c.num_attention_heads * c.head_dim;
  const uint64_t experts = c.num_experts_per_tok * (c.hidden_size * 2 + c.moe_intermediate_size * 3);
  const uint64_t width = 8 * c.hidden_size + attention + std::max<uint64_t>(3 * c.intermediate_size, experts);
  return 2 * chunk * width * sizeof(float) + 2 * c.vocab_size * sizeof(float);
}

/// The context: as asked, or what fits into 60% of free memory after the weights (DESIGN.md 4).
size_t choose_context(const EngineOptions& options, const ModelConfig& config, const KvLayout& layout, uint64_t weights,
                      uint64_t available) {
  const uint64_t per_token =
      std::max<uint64_t>(checked_mul<uint64_t>(layout.bytes_per_token(), options.sequences).value_or(~uint64_t{0}), 1);
  const uint64_t fixed = weights + scratch_bytes(config, options.prefill_chunk);
  const auto refuse = [&](uint64_t tokens) {
    throw ResourceError(cat("not enough memory: ", gib(weights), " of weights, ", gib(tokens * per_token),
                            " of cache for ", tokens, " tokens and ", gib(fixed - weights), " of scratch are needed, ",
                            gib(available), " are free"));
  };
  if (options.ctx != 0) {
    if (options.ctx > config.max_position_embeddings)
      throw UsageError(cat("--ctx: expected at most the model's own ", config.max_position_embeddings,
                           " positions, found ", options.ctx));
    if (fixed > available || options.ctx > (available - fixed) / per_token) refuse(options.ctx);
    return options.ctx;
  }
  const size_t least = std::min<size_t>(4096, config.max_position_embeddings);
  if (fixed > available || least > (available - fixed) / per_token) refuse(least);
  const auto room = static_cast<uint64_t>(0.6 * static_cast<double>(available));
  const uint64_t fits = room > fixed ? (room - fixed) / per_token : 0;
  return std::clamp<size_t>(fits, least, config.max_position_embeddings);
}

/// The layout that the model will have, before it is loaded.
KvLayout planned_layout(const ModelConfig& c, CacheType type) {
  KvLayout layout{.type = type};
  for (size_t i = 0; i < c.num_hidden_layers + std::min<size_t>(c.num_nextn_predict_layers, 1); ++i) {
    if (c.is_mla())
      layout.add_mla(c.kv_lora_rank + c.qk_rope_head_dim);
    else
      layout.add_gqa(c.num_key_value_heads, c.head_dim);
  }
  return layout;
}

/// What the packed weights take: as stored, but for a joined kv_b in blocks or FP8, which is split as f32.
uint64_t packed_bytes(const Checkpoint& checkpoint) {
  uint64_t bytes = checkpoint.weight_bytes();
  const ModelConfig& c = checkpoint.config();
  for (size_t layer = 0; c.is_mla() && layer < c.num_hidden_layers + c.num_nextn_predict_layers; ++layer) {
    const std::string name = cat("model.layers.", layer, ".self_attn.kv_b_proj.weight");
    if (!checkpoint.has(name)) continue;
    const Tensor kv_b = checkpoint.find(name).data;
    if (info(kv_b.dtype()).block_size != 1 || kv_b.dtype() == DType::kF8E4M3)
      bytes += kv_b.count() * sizeof(float) - kv_b.size_bytes();
  }
  return bytes;
}

std::vector<std::string> notes_of(const Checkpoint& checkpoint) {
  std::vector<std::string> notes = checkpoint.notes();
  const ModelConfig& c = checkpoint.config();
  if (c.num_nextn_predict_layers > 1)
    notes.push_back(cat("of ", c.num_nextn_predict_layers, " MTP modules the first is used"));
  if (c.rope_scaling.attn_factor)
    notes.push_back(cat("YaRN: attn_factor ", *c.rope_scaling.attn_factor,
                        " of the configuration is honoured (transformers and llama.cpp ignore it)"));
  return notes;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = ~uint64_t{0};
  if (const uint64_t kib = keyed_number("/proc/meminfo", "MemAvailable:")) available = kib * 1024;
  const std::optional<uint64_t> limit = number_in("/sys/fs/cgroup/memory.max");
  const std::optional<uint64_t> used = number_in("/sys/fs/cgroup/memory.current");
  // The page cache of files that nobody uses now, such as the model just read, is given back when it is asked for.
  const uint64_t reclaimable = keyed_number("/sys/fs/cgroup/memory.stat", "inactive_file");
  if (limit && used) available = std::min(available, *limit + reclaimable > *used ? *limit + reclaimable - *used : 0);
  return available;
}

Profile default_profile(const std::vector<TensorInfo>& tensors, bool has_bf16_unit) {
  uint64_t total = 0, int8 = 0, bf16 = 0;
  for (const TensorInfo& t : tensors) {
    if (t.shape.rank() < 2) continue;
    total += t.size_bytes;
    if (int8_block(t.dtype) != 0) int8 += t.size_bytes;
    if (t.dtype == DType::kBF16 || t.dtype == DType::kF8E4M3) bf16 += t.size_bytes;
  }
  if (2 * int8 > total) return Profile::kInt8;
  return has_bf16_unit && 2 * bf16 > total ? Profile::kBF16 : Profile::kExact;
}

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& path, const EngineOptions& options) {
  if (options.prefill_chunk == 0 || options.sequences == 0)
    throw UsageError("prefill chunk and sequences: expected at least 1, found 0");
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  std::unique_ptr<Engine> engine(new Engine);
  EngineInfo& info = engine->info_;
  const Kernels& kernels = options.kernels ? *options.kernels : best_kernels();
  info.path = path.string();
  info.description = checkpoint->description();
  info.kernels = kernels.name;
  info.threads = options.threads ? options.threads : physical_cores();
  // ref emulates the bf16 unit for tests; nobody wants that emulation by default.
  info.profile =
      options.profile.value_or(default_profile(checkpoint->tensors(), kernels.has_bf16 && &kernels != &ref_kernels()));
  if (info.profile == Profile::kBF16 && !kernels.has_bf16)
    throw UsageError(cat("--profile bf16: expected a processor with bf16 products, found kernels \"", kernels.name,
                         "\" without them"));
  info.cache_type = options.cache_type.value_or(info.profile == Profile::kExact ? CacheType::kF32 : CacheType::kBF16);
  info.weight_bytes = packed_bytes(*checkpoint);
  info.notes = notes_of(*checkpoint);
  info.model_ctx = checkpoint->config().max_position_embeddings;
  const KvLayout planned = planned_layout(checkpoint->config(), info.cache_type);
  info.kv_bytes_per_token = planned.bytes_per_token();
  info.ctx = choose_context(options, checkpoint->config(), planned, info.weight_bytes, available_memory_bytes());

  if (!options.identity_memory.empty()) {
    info.weights_id = remembered_weights_id(*checkpoint, path, options.identity_memory);
    info.numerics_id = numerics_id(info.weights_id, info.profile, info.cache_type);
  }

  engine->prefill_chunk_ = options.prefill_chunk;
  engine->generation_config_ = checkpoint->generation_config();
  if (std::optional<TokenizerSpec> spec = checkpoint->tokenizer()) {
    const std::string chat_template = spec->chat_template;
    const size_t rows =
        checkpoint->config().vocab_size;  // padding rows of the embedding stand for no token, but can be drawn
    if (spec->tokens.size() < rows) spec->tokens.resize(rows), spec->kinds.resize(rows, TokenKind::kUnused);
    engine->tokenizer_ = std::make_unique<Tokenizer>(std::move(*spec));
    engine->set_chat_template(chat_template);
  }
  engine->backend_ = make_cpu_backend(info.threads, kernels);
  engine->model_ = load_model(*checkpoint, options.progress);
  const size_t pages = (info.ctx + kPagePositions - 1) / kPagePositions * options.sequences;
  engine->pool_ = std::make_unique<KvPool>(engine->model_->kv_layout(info.cache_type), pages);
  return engine;
}

const Tokenizer& Engine::tokenizer() const {
  if (!tokenizer_) throw Error(cat(info_.path, ": expected a tokenizer with the model, found none"));
  return *tokenizer_;
}

const ChatTemplate& Engine::chat_template() const {
  if (!chat_template_) throw Error(cat(info_.path, ": expected a chat template with the model, found none"));
  return *chat_template_;
}

void Engine::set_chat_template(std::string source) {
  const bool none = source.empty();
  auto chat_template = std::make_unique<const ChatTemplate>(std::move(source));
  output_format_ = detect_output_format(*chat_template, [this](std::string_view text) -> std::optional<TokenId> {
    const std::optional<TokenId> id = tokenizer().find(text);
    return id && tokenizer().kind(*id) != TokenKind::kNormal ? id : std::nullopt;
  });
  chat_template_ = none ? nullptr : std::move(chat_template);
}

bool Engine::is_end_of_generation(TokenId id) const {
  if (tokenizer_ && tokenizer_->is_end_of_generation(id)) return true;
  const std::vector<int>& ids = config().eos_token_ids;
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace fathom
