#include "quant/synthetic.h"

#include <algorithm>

#include "base/json.h"
#include "formats/gguf_writer.h"
#include "quant/convert_to_gguf_keys.h"
#include "quant/gguf_tokenizer_keys.h"
#include "quant/synthetic_blocks.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;

class TensorList {
 public:
  explicit TensorList(const ModelConfig& config) : c_(config) {}

  std::vector<TensorInfo> list() {
    const size_t D = c_.hidden_size, V = c_.vocab_size;
    add("token_embd.weight", {V, D});
    add("output_norm.weight", {D});
    if (!c_.tie_word_embeddings) add("output.weight", {V, D});
    for (size_t i = 0; i < c_.num_hidden_layers; ++i) {
      prefix_ = cat("blk.", i, ".");
      add("attn_norm.weight", {D});
      add("ffn_norm.weight", {D});
      c_.is_mla() ? add_mla() : add_gqa();
      c_.is_moe_layer(i) ? add_experts() : add_dense("", c_.intermediate_size);
    }
    return std::move(tensors_);
  }

 private:
  void add(const std::string& name, Shape shape) { tensors_.push_back({prefix_ + name, DType::kF32, shape, 0}); }

  void add_gqa() {
    const size_t D = c_.hidden_size, q = c_.num_attention_heads * c_.head_dim,
                 kv = c_.num_key_value_heads * c_.head_dim;
    add("attn_q.weight", {q, D});
    add("attn_k.weight", {kv, D});
    add("attn_v.weight", {kv, D});
    add("attn_output.weight", {D, q});
    if (!c_.attention_bias) return;
    add("attn_q.bias", {q});
    add("attn_k.bias", {kv});
    add("attn_v.bias", {kv});
  }

  void add_mla() {
    check(c_.q_lora_rank == 0, "no synthetic shape has q_lora_rank");
    const size_t D = c_.hidden_size, H = c_.num_attention_heads, R = c_.kv_lora_rank;
    add("attn_q.weight", {H * c_.head_dim, D});
    add("attn_kv_a_mqa.weight", {R + c_.qk_rope_head_dim, D});
    add("attn_kv_a_norm.weight", {R});
    add("attn_k_b.weight", {H, R, c_.qk_nope_head_dim});
    add("attn_v_b.weight", {H, c_.v_head_dim, R});
    add("attn_output.weight", {D, H * c_.v_head_dim});
  }

  void add_dense(const char* suffix, size_t F) {
    add(cat("ffn_gate", suffix, ".weight"), {F, c_.hidden_size});
    add(cat("ffn_up", suffix, ".weight"), {F, c_.hidden_size});
    add(cat("ffn_down", suffix, ".weight"), {c_.hidden_size, F});
  }

  void add_experts() {
    const size_t D = c_.hidden_size, E = c_.n_routed_experts, F = c_.moe_intermediate_size;
    add("ffn_gate_inp.weight", {E, D});
    add("ffn_gate_exps.weight", {E, F, D});
    add("ffn_up_exps.weight", {E, F, D});
    add("ffn_down_exps.weight", {E, D, F});
    if (c_.n_shared_experts) add_dense("_shexp", c_.n_shared_experts * F);
  }

  const ModelConfig& c_;
  std::string prefix_;
  std::vector<TensorInfo> tensors_;
};

MixtureModel mixture_model(const ModelConfig& config) {
  return {.architecture = gguf_architecture(config),
          .layers = config.num_hidden_layers,
          .gqa = config.num_attention_heads / (config.is_mla() ? 1 : config.num_key_value_heads),
          .experts = config.n_routed_experts};
}

/// The piece that stands for one byte in byte-level vocabularies: itself where it is printable, else U+0100 and on.
std::string byte_piece(unsigned byte, char32_t& next_other) {
  const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
  std::string piece;
  append_utf8(piece, printable ? byte : next_other++);
  return piece;
}

/// 256 bytes, one merge (readers want some), fillers that no text becomes, and the end token.
TokenizerSpec byte_tokenizer(const ModelConfig& config, const char* pre) {
  TokenizerSpec spec;
  char32_t next_other = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) spec.tokens.push_back(byte_piece(byte, next_other));
  spec.tokens.emplace_back("th");
  spec.merges.emplace_back("t", "h");
  check(config.vocab_size > spec.tokens.size() && config.eos_token_ids.size() == 1,
        "a synthetic shape has room for all bytes, and one end token");
  while (spec.tokens.size() < config.vocab_size) spec.tokens.push_back(cat("filler", spec.tokens.size()));
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  const auto eos = static_cast<size_t>(config.eos_token_ids[0]);
  check(eos >= 257 && eos < spec.tokens.size(), "the end token is no byte");
  spec.tokens[eos] = "<|endoftext|>";
  spec.kinds[eos] = TokenKind::kControl;
  spec.eos = config.eos_token_ids[0];
  spec.end_of_generation = {*spec.eos};
  spec.pre = pre;
  spec.nfc = spec.pre == "qwen2";
  return spec;
}

GgufKeys make_keys(const SyntheticShape& shape, const ModelConfig& config, const Mixture& mixture) {
  GgufKeys keys;
  std::vector<std::string> notes;  // of what a converted folder could lose: nothing is lost here
  const json::value value = parse_json(shape.config_json, shape.name);
  keys.set_string("general.architecture", gguf_architecture(config));
  keys.set_string("general.type", "model");
  keys.set_string("general.name", cat(shape.name, " (random weights)"));
  set_model_keys(keys, config, JsonObject(value, shape.name), {}, notes);
  keys.set_u32("general.file_type", static_cast<uint32_t>(mixture.file_type));
  keys.set_u32("general.quantization_version", 2);
  set_tokenizer_keys(keys, byte_tokenizer(config, shape.pre), config, notes);
  return keys;
}

void fill(const TensorInfo& t, std::span<std::byte> piece, uint64_t seed) {
  if (!t.name.ends_with("_norm.weight")) return fill_random_blocks(t.dtype, piece, seed);
  const float one = 1;
  for (size_t at = 0; at < piece.size(); at += sizeof one)
    std::copy_n(reinterpret_cast<const std::byte*>(&one), sizeof one, piece.data() + at);
}

}  // namespace

std::vector<TensorInfo> synthetic_tensors(const ModelConfig& config, const Mixture& mixture) {
  std::vector<TensorInfo> tensors = TensorList(config).list();
  sort_for_writing(tensors);
  const std::vector<TensorChoice> choices = choose_types(tensors, mixture_model(config), {.mixture = &mixture});
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].dtype = choices[i].type;
    tensors[i].size_bytes = stored_bytes(tensors[i].name, tensors[i].dtype, tensors[i].shape);
  }
  return tensors;
}

void write_synthetic(const std::filesystem::path& path, const SyntheticShape& shape, const Mixture& mixture,
                     const WorkProgress& progress) {
  const ModelConfig config = synthetic_config(shape);
  const std::vector<TensorInfo> tensors = synthetic_tensors(config, mixture);
  uint64_t total = 0, done = 0;
  for (const TensorInfo& t : tensors) {
    if (!has_random_blocks(t.dtype))
      throw UsageError(cat("--type ", mixture.name, ": expected a type whose random blocks are made here, found ",
                           t.dtype, " for tensor ", t.name));
    total += t.size_bytes;
  }
  require_room(path, total);
  GgufWriter writer(path, make_keys(shape, config, mixture), tensors);
  std::vector<std::byte> piece;
  uint64_t seed = 0;
  for (const TensorInfo& t : tensors) {
    const size_t most = kPieceBytes / info(t.dtype).block_bytes * info(t.dtype).block_bytes;
    for (uint64_t left = t.size_bytes; left > 0;) {
      piece.resize(std::min<uint64_t>(left, most));
      fill(t, piece, ++seed);
      writer.write(piece);
      left -= piece.size();
      done += piece.size();
      if (progress) progress(done, total);
    }
  }
  writer.commit();
}

}  // namespace fathom
