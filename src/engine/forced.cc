#include "engine/forced.h"

#include <algorithm>
#include <cstring>

#include "sampling/logprobs.h"

namespace fathom {
namespace {

/// Copies the observed rows of each sequence to where they belong.
class LayerCollector final : public Observer {
 public:
  LayerCollector(std::vector<ForcedOutputs>& outputs, size_t layers) : outputs_(outputs), layers_(layers) {}
  struct Place {
    size_t sequence, row, rows, position;
  };
  std::vector<Place> places;

  void layer_output(size_t layer, const Tensor& x) override {
    if (layer < layers_)
      for (const Place& p : places) copy(outputs_[p.sequence].layer_out[layer], p.position, x, p.row, p.rows);
  }
  static void copy(const Tensor& to, size_t to_row, const Tensor& from, size_t from_row, size_t rows) {
    const size_t width = from.shape().back() * sizeof(float);
    std::memcpy(to.bytes() + to_row * width, from.bytes() + from_row * width, rows * width);
  }

 private:
  std::vector<ForcedOutputs>& outputs_;
  size_t layers_;
};

struct Feed {
  std::vector<SequenceRows> rows;
  std::vector<int32_t> ids, positions;
  std::vector<LayerCollector::Place> places;
};

/// The next tokens of every sequence that has some left, `chunk` of each at most.
Feed next_feed(const std::vector<std::vector<TokenId>>& sequences, std::vector<KvSequence>& kv, size_t chunk) {
  Feed feed;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t done = kv[i].length(), n = std::min(chunk, sequences[i].size() - done);
    if (n == 0) continue;
    if (!kv[i].reserve(n)) throw ResourceError(cat("KV cache: no page left at position ", done, " of sequence ", i));
    feed.rows.push_back({feed.ids.size(), n, done, kv[i].pages()});
    feed.places.push_back({i, feed.ids.size(), n, done});
    for (size_t t = done; t < done + n; ++t) {
      feed.ids.push_back(sequences[i][t]);
      feed.positions.push_back(static_cast<int32_t>(t));
    }
  }
  return feed;
}

/// The MTP module over the same rows: position i reads token i + 1; a sequence's last position has none and is left
/// out.
void run_mtp(Engine& engine, Context& ctx, const std::vector<std::vector<TokenId>>& sequences, const Feed& feed,
             const Tensor& hidden, std::vector<ForcedOutputs>& outputs) {
  std::vector<SequenceRows> rows;
  std::vector<int32_t> ids, positions, picked;
  for (size_t i = 0; i < feed.rows.size(); ++i) {
    const LayerCollector::Place& p = feed.places[i];
    const size_t n = std::min(p.rows, sequences[p.sequence].size() - 1 - p.position);
    if (n == 0) continue;
    rows.push_back({ids.size(), n, p.position, feed.rows[i].pages});
    for (size_t t = 0; t < n; ++t) {
      ids.push_back(sequences[p.sequence][p.position + t + 1]);
      positions.push_back(static_cast<int32_t>(p.position + t));
      picked.push_back(static_cast<int32_t>(p.row + t));
    }
  }
  if (ids.empty()) return;
  const Tensor h = make_tensor(DType::kF32, {ids.size(), hidden.shape().back()});
  ctx.backend.gather_rows(h, hidden, from_ids(picked));
  const Tensor logits = engine.model().mtp_logits(
      ctx, engine.model().mtp_forward(ctx, {from_ids(ids), {}, from_ids(positions), rows}, h, engine.kv_layout()));
  size_t from = 0;
  for (const LayerCollector::Place& p : feed.places) {
    const size_t n = std::min(p.rows, sequences[p.sequence].size() - 1 - p.position);
    LayerCollector::copy(outputs[p.sequence].mtp_logits, p.position, logits, from, n);
    from += n;
  }
}

}  // namespace

std::vector<ForcedOutputs> forced_forward(Engine& engine, const std::vector<std::vector<TokenId>>& sequences,
                                          const ForcedOptions& options) {
  const ModelConfig& c = engine.config();
  const size_t chunk = options.chunk ? options.chunk : engine.prefill_chunk();
  std::vector<ForcedOutputs> outputs(sequences.size());
  std::vector<KvSequence> kv;
  kv.reserve(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    kv.emplace_back(engine.pool());
    const size_t T = sequences[i].size();
    outputs[i].logits = make_tensor(DType::kF32, {T, c.vocab_size});
    if (!options.layers) continue;
    outputs[i].final_norm = make_tensor(DType::kF32, {T, c.hidden_size});
    for (size_t l = 0; l < c.num_hidden_layers; ++l)
      outputs[i].layer_out.push_back(make_tensor(DType::kF32, {T, c.hidden_size}));
    if (engine.model().has_mtp() && T > 0) outputs[i].mtp_logits = make_tensor(DType::kF32, {T - 1, c.vocab_size});
  }
  LayerCollector collector(outputs, c.num_hidden_layers);
  Context ctx = engine.context();
  for (;;) {
    const Feed feed = next_feed(sequences, kv, chunk);
    if (feed.ids.empty()) return outputs;
    collector.places = feed.places;
    ctx.observer = options.layers ? &collector : nullptr;
    const Tensor hidden =
        engine.model().forward(ctx, {from_ids(feed.ids), {}, from_ids(feed.positions), feed.rows}, engine.kv_layout());
    const Tensor logits = engine.model().logits(ctx, hidden);
    for (const LayerCollector::Place& p : feed.places) {
      LayerCollector::copy(outputs[p.sequence].logits, p.position, logits, p.row, p.rows);
      if (options.layers) LayerCollector::copy(outputs[p.sequence].final_norm, p.position, hidden, p.row, p.rows);
      kv[p.sequence].advance(p.rows);
    }
    ctx.observer = nullptr;
    if (options.layers && engine.model().has_mtp()) run_mtp(engine, ctx, sequences, feed, hidden, outputs);
  }
}

std::vector<float> token_logprobs(const Tensor& logits, std::span<const TokenId> ids) {
  const size_t V = logits.shape().back();
  std::vector<float> out;
  for (size_t t = 0; t + 1 < ids.size(); ++t)
    out.push_back(log_softmax_at({logits.data<float>() + t * V, V}, ids[t + 1]));
  return out;
}

}  // namespace fathom
