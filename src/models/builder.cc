#include "models/builder.h"

#include "models/parts/rope_table.h"

namespace fathom {

ModelBuilder::ModelBuilder(const Checkpoint& checkpoint, const LoadOptions& options)
    : weights_(std::make_shared<Weights>()),
      model_(new Model),
      loader_(checkpoint, *weights_, options),
      share_mtp_(options.share_mtp) {
  model_->config_ = checkpoint.config();
  model_->weights_ = weights_;
}

DecoderLayer ModelBuilder::layer(size_t index, const MakeParts& make_parts) {
  const std::string prefix = cat("model.layers.", index, ".");
  DecoderLayer out;
  out.input_layernorm = loader_.vector(prefix + "input_layernorm.weight", model_->config_.hidden_size);
  out.post_attention_layernorm =
      loader_.vector(prefix + "post_attention_layernorm.weight", model_->config_.hidden_size);
  make_parts(out, index, prefix);
  return out;
}

void ModelBuilder::build(size_t rope_dims, const MakeParts& make_parts) {
  const ModelConfig& c = model_->config_;
  model_->rope_ = rope_table(c, rope_dims, loader_.optional_vector("rope_freqs.weight", rope_dims / 2));
  model_->embed_tokens_ = &loader_.linear("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  for (size_t i = 0; i < c.num_hidden_layers; ++i) model_->layers_.push_back(layer(i, make_parts));
  model_->norm_ = loader_.vector("model.norm.weight", c.hidden_size);
  model_->lm_head_ = c.tie_word_embeddings ? &weights_->add_use(*model_->embed_tokens_)
                                           : &loader_.linear("lm_head.weight", c.vocab_size, c.hidden_size);
}

void ModelBuilder::build_mtp(const MakeParts& make_parts) {
  const ModelConfig& c = model_->config_;
  const std::string prefix = cat("model.layers.", c.num_hidden_layers, ".");
  if (c.num_nextn_predict_layers == 0 || !loader_.has(prefix + "eh_proj.weight")) return;
  auto mtp = std::make_unique<MtpModule>();
  const auto own_or = [&](const std::string& name, const Weight* shared) {
    return !share_mtp_ && loader_.has(prefix + name) ? &loader_.linear(prefix + name, c.vocab_size, c.hidden_size)
                                                     : &weights_->add_use(*shared);
  };
  mtp->embed_tokens = own_or("embed_tokens.weight", model_->embed_tokens_);
  mtp->head = own_or("shared_head.head.weight", model_->lm_head_);
  mtp->eh_proj = &loader_.linear(prefix + "eh_proj.weight", c.hidden_size, 2 * c.hidden_size);
  mtp->enorm = loader_.vector(prefix + "enorm.weight", c.hidden_size);
  mtp->hnorm = loader_.vector(prefix + "hnorm.weight", c.hidden_size);
  mtp->shared_head_norm = loader_.has(prefix + "shared_head.norm.weight")
                              ? loader_.vector(prefix + "shared_head.norm.weight", c.hidden_size)
                              : model_->norm_;
  mtp->layer = layer(c.num_hidden_layers, make_parts);
  model_->mtp_ = std::move(mtp);
}

}  // namespace fathom
