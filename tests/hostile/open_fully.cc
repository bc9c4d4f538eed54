#include "tests/hostile/open_fully.h"

#include <algorithm>

#include "engine/forced.h"
#include "formats/checkpoint.h"
#include "tensor/dequantize.h"

namespace fathom::testing {
namespace {

constexpr RenderLimits kLimits{.steps = 2'000'000, .bytes = 64 << 20, .output_bytes = 8 << 20};

void use_tokenizer(const TokenizerSpec& spec) {
  const Tokenizer tokenizer(spec);
  const std::vector<TokenId> ids = tokenizer.encode("ab Hello, world! 123 \xC3\xA9\n");
  (void)tokenizer.decode(ids);
  (void)tokenizer.decode(spec.end_of_generation);
  if (spec.chat_template.empty()) return;
  const ChatTemplate chat(spec.chat_template);
  RenderOptions options;
  options.messages = {{{"role", "user"}, {"content", "hello"}}};
  options.bos_token = "<s>";
  (void)tokenizer.encode(chat.render(options, kLimits));
}

/// Of each of the first tensors a few whole rows.
void read_tensors(const Checkpoint& checkpoint) {
  const size_t n = std::min<size_t>(checkpoint.tensors().size(), 16);
  std::vector<float> values(1 << 16);
  for (size_t i = 0; i < n; ++i) {
    const Tensor t = checkpoint.stored(i);
    const size_t row = t.shape().rank() ? t.shape().back() : 1;
    if (can_dequantize(t.dtype()) && t.count() > 0 && row <= values.size())
      dequantize(t.dtype(), t.bytes(), values.data(), std::min(t.count() / row, values.size() / row) * row);
    checkpoint.release(t);
  }
}

}  // namespace

void open_fully(const std::filesystem::path& path) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  (void)checkpoint->description();
  (void)checkpoint->notes();
  if (const std::optional<TokenizerSpec> spec = checkpoint->tokenizer()) use_tokenizer(*spec);
  read_tensors(*checkpoint);
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.mlp.experts.0.gate_proj.weight"})
    if (checkpoint->has(name)) (void)checkpoint->find(name);
}

void open_and_compute(const std::filesystem::path& path) {
  open_fully(path);
  const std::unique_ptr<Engine> engine = Engine::load(path, {.threads = 1, .ctx = 16, .prefill_chunk = 8});
  const std::vector<TokenId> ids = {1, 2, 3};
  const std::vector<ForcedOutputs> out = forced_forward(*engine, {ids});
  (void)token_logprobs(out.at(0).logits, ids);
}

}  // namespace fathom::testing
