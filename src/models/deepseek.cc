// DeepSeek V2 and V3 (R1): multi-head latent attention, dense first layers, mixture of experts, MTP.
#include "models/builder.h"
#include "models/parts/feed_forward.h"
#include "models/parts/mla.h"

namespace fathom {

std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint, const LoadOptions& options) {
  ModelBuilder builder(checkpoint, options);
  const ModelConfig& c = checkpoint.config();
  const auto make_parts = [&](DecoderLayer& layer, size_t index, const std::string& prefix) {
    layer.self_attn = load_mla(builder.loader(), prefix + "self_attn.");
    layer.mlp = c.is_moe_layer(index) ? load_moe(builder.loader(), prefix + "mlp.")
                                      : load_mlp(builder.loader(), prefix + "mlp.", c.intermediate_size);
  };
  builder.build(c.qk_rope_head_dim, make_parts);
  builder.build_mtp(make_parts);
  return builder.take();
}

}  // namespace fathom
