#include "engine/engine.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "engine/identity.h"
#include "engine/load_weights.h"
#include "engine/lora.h"
#include "engine/memory.h"

namespace fathom {
namespace {

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

RunNumerics choose_numerics(const EngineOptions& options, const std::vector<TensorInfo>& tensors) {
  const Kernels& kernels = options.kernels ? *options.kernels : best_kernels();
  // ref emulates the bf16 unit for tests; nobody wants that emulation by default.
  const bool has_bf16_unit = kernels.has_bf16 && &kernels != &ref_kernels();
  const Profile profile = options.profile ? *options.profile : default_profile(tensors, has_bf16_unit);
  if (profile == Profile::kBF16 && !kernels.has_bf16)
    throw UsageError(cat("--profile bf16: expected a processor with bf16 products, found kernels \"", kernels.name,
                         "\" without them"));
  return {&kernels, profile,
          options.cache_type.value_or(profile == Profile::kExact ? CacheType::kF32 : CacheType::kBF16)};
}

namespace {

/// Of the tensor, not of the configuration: what a file claims takes no memory before its tensors are checked.
size_t embedding_rows(const Checkpoint& checkpoint) {
  constexpr std::string_view kName = "model.embed_tokens.weight";
  const Shape shape = checkpoint.has(kName) ? checkpoint.find(kName).data.shape() : Shape{};
  return shape.rank() > 0 ? static_cast<size_t>(shape[0]) : 0;
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& path, const EngineOptions& options) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  std::optional<PeftAdapter> adapter;
  if (!options.adapter.empty()) adapter = read_peft_adapter(options.adapter);
  std::unique_ptr<Engine> engine(new Engine);
  EngineInfo& info = engine->info_;
  info.path = path.string();
  info.description = checkpoint->description();
  info.weight_bytes = packed_weight_bytes(checkpoint->tensors());
  info.notes = notes_of(*checkpoint);
  engine->choose_how_to_run(options, choose_numerics(options, checkpoint->tensors()), checkpoint->config(),
                            info.weight_bytes);
  engine->pass_cost_ = PassCost(count_token_work(checkpoint->tensors(), checkpoint->config(), info.cache_type));
  engine->generation_config_ = checkpoint->generation_config();
  if (std::optional<TokenizerSpec> spec = checkpoint->tokenizer()) {
    const std::string chat_template = spec->chat_template;
    const size_t rows = embedding_rows(*checkpoint);  // padding rows stand for no token, but can be drawn
    if (spec->tokens.size() < rows) spec->tokens.resize(rows), spec->kinds.resize(rows, TokenKind::kUnused);
    engine->tokenizer_ = std::make_unique<Tokenizer>(std::move(*spec));
    engine->set_chat_template(chat_template);
  }
  engine->model_ = load_weights(*checkpoint, options, info);
  if (adapter) {
    engine->adapter_ = std::make_shared<const Adapter>(make_adapter(*adapter, *engine->model_));
    info.adapter = describe_adapter(options.adapter, *adapter);
  }
  if (!info.weights_id.empty())
    info.numerics_id =
        numerics_id(info.weights_id, info.profile, info.cache_type, adapter ? adapter_id(*adapter) : "none");
  engine->make_pool();
  return engine;
}

std::unique_ptr<Engine> Engine::from_model(std::shared_ptr<const Model> model,
                                           std::unique_ptr<const Tokenizer> tokenizer, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine);
  engine->info_.description = "a model in memory";
  engine->info_.weight_bytes = model->weights().size_bytes();
  engine->choose_how_to_run(options, choose_numerics(options, {}), model->config(), /*resident_bytes=*/0);
  engine->tokenizer_ = std::move(tokenizer);
  engine->model_ = std::move(model);
  engine->make_pool();
  return engine;
}

/// Kernels, profile, threads and context. `resident_bytes`: of weights that are still to be read.
void Engine::choose_how_to_run(const EngineOptions& options, const RunNumerics& numerics, const ModelConfig& config,
                               uint64_t resident_bytes) {
  if (options.prefill_chunk == 0 || options.sequences == 0)
    throw UsageError("prefill chunk and sequences: expected at least 1, found 0");
  info_.kernels = numerics.kernels->name;
  info_.threads = options.threads ? options.threads : physical_cores();
  info_.profile = numerics.profile;
  info_.cache_type = numerics.cache_type;
  info_.model_ctx = config.max_position_embeddings;
  const MemoryNeeds needs = memory_needs(config, resident_bytes, info_.cache_type, options.prefill_chunk);
  info_.kv_bytes_per_token = needs.kv_per_token;
  const uint64_t free = available_memory_bytes(), available = free - std::min(free, options.promised_bytes);
  info_.ctx = choose_context(needs, config, options.ctx, options.sequences, available, options.least_ctx);
  pool_pages_ = (info_.ctx + kPagePositions - 1) / kPagePositions * options.sequences;
  constexpr size_t kMostContexts = 8;
  const size_t most = (info_.ctx + kPagePositions - 1) / kPagePositions * kMostContexts;
  if (options.fill_memory)
    pool_pages_ = std::clamp<size_t>(pages_that_fit(needs, available), pool_pages_, std::max(most, pool_pages_));
  prefill_chunk_ = options.prefill_chunk;
  backend_ = make_cpu_backend(info_.threads, *numerics.kernels);
}

void Engine::make_pool() {
  pool_ = std::make_unique<KvPool>(model_->kv_layout(info_.cache_type), pool_pages_);
  prefixes_ = std::make_unique<PrefixCache>(*pool_, info_.numerics_id);
}

void Engine::publish(std::shared_ptr<const Model> model, std::shared_ptr<const Adapter> adapter) {
  prefixes_->clear();
  check(pool_->used_pages() == 0, "no session holds positions of the model before");
  check(model->config().vocab_size == config().vocab_size && model->config().hidden_size == config().hidden_size &&
            model->kv_layout(info_.cache_type).page_bytes == kv_layout().page_bytes,
        "a published model has the configuration of the one before");
  model_ = std::move(model), adapter_ = std::move(adapter);
}

const Tokenizer& Engine::tokenizer() const {
  if (!tokenizer_) throw Error(cat(info_.path, ": expected a tokenizer with the model, found none"));
  return *tokenizer_;
}

std::shared_ptr<const ScriptMask> Engine::script_mask(ScriptSet scripts) const {
  const std::lock_guard lock(script_masks_mutex_);
  std::shared_ptr<const ScriptMask>& mask = script_masks_[scripts.bits()];
  if (!mask) mask = std::make_shared<const ScriptMask>(tokenizer(), config().vocab_size, scripts);
  return mask;
}

const TokenTrie& Engine::token_trie() const {
  std::call_once(token_trie_made_, [this] { token_trie_ = std::make_unique<const TokenTrie>(tokenizer()); });
  return *token_trie_;
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
