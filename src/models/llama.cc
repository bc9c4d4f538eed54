// Llama, Qwen2, Qwen3 and Qwen3-MoE: grouped-query attention; biases and norms where the checkpoint has them.
#include "models/builder.h"
#include "models/parts/feed_forward.h"
#include "models/parts/gqa.h"

namespace fathom {

std::unique_ptr<const Model> load_llama(const Checkpoint& checkpoint, const LoadOptions& options) {
  ModelBuilder builder(checkpoint, options);
  const ModelConfig& c = checkpoint.config();
  builder.build(c.head_dim, [&](DecoderLayer& layer, size_t index, const std::string& prefix) {
    layer.self_attn = load_gqa(builder.loader(), prefix + "self_attn.");
    layer.mlp = c.is_moe_layer(index) ? load_moe(builder.loader(), prefix + "mlp.")
                                      : load_mlp(builder.loader(), prefix + "mlp.", c.intermediate_size);
  });
  return builder.take();
}

}  // namespace fathom
