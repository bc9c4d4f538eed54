#include "engine/imatrix.h"

#include <algorithm>
#include <cmath>

#include "formats/gguf_names.h"

namespace fathom {
namespace {

constexpr std::string_view kJoined = ".kv_b_proj.weight", kKeys = ".k_b_proj.weight", kValues = ".v_b_proj.weight";

/// "model.layers.3.self_attn" of one of MLA's absorbed halves; empty: another weight.
std::string absorbed_stem(const std::string& name) {
  for (const std::string_view end : {kJoined, kKeys, kValues})
    if (name.ends_with(end)) return name.substr(0, name.size() - end.size());
  return {};
}

}  // namespace

ImatrixCollector::Sums& ImatrixCollector::sums_of(const std::string& name, size_t columns, size_t matrices,
                                                  size_t counts) {
  Sums& sums = sums_[name];
  if (sums.counts.empty()) {
    sums.columns = columns;
    sums.in_sum2.resize(columns * matrices);
    sums.counts.resize(counts);
  }
  check(sums.columns == columns && sums.in_sum2.size() == columns * matrices, "one name for weights of two shapes");
  return sums;
}

/// The heads of a layer share a name and come in order, keys before values where both were split out of one tensor.
ImatrixCollector::Place ImatrixCollector::head_place(const Weight& w, const std::string& stem) {
  const size_t heads = config_.num_attention_heads, seen = heads_seen_[w.name()]++;
  const bool joined = w.name().ends_with(kJoined), keys = joined ? seen < heads : w.name().ends_with(kKeys);
  const std::string hf = stem + std::string(keys ? kKeys : kValues);
  const size_t head = joined && !keys ? seen - heads : seen;
  check(head < heads, "more heads than the model has");
  return {&sums_of(gguf_name(hf).value_or(hf), w.K(), heads, 1), head, head == 0};
}

ImatrixCollector::Place ImatrixCollector::place_of(const Weight& w) {
  const std::string& name = w.name();
  if (const std::optional<ExpertName> expert = expert_name(name)) {
    const size_t experts = config_.n_routed_experts;
    check(expert->index < experts, "an expert that the model does not have");
    return {&sums_of(gguf_expert_stack(expert->layer, expert->projection), w.K(), experts, experts), expert->index,
            true};
  }
  if (const std::string stem = absorbed_stem(name); !stem.empty()) return head_place(w, stem);
  const std::optional<std::string> gguf = gguf_name(name);
  if (!gguf || !(gguf->starts_with("blk.") || (output_ && *gguf == "output.weight"))) return {};
  return {&sums_of(*gguf, w.K(), 1, 1), 0, true};
}

void ImatrixCollector::linear_input(const Weight& w, const Tensor& x) {
  const auto [found, is_new] = places_.try_emplace(&w);
  if (is_new) found->second = place_of(w);
  const Place& place = found->second;
  if (!place.sums) return;
  Sums& sums = *place.sums;
  const size_t rows = x.rows(), K = sums.columns;
  const float* values = x.data<float>();
  double* to = sums.in_sum2.data() + place.matrix * K;
  for (size_t t = 0; t < rows; ++t, values += K)
    for (size_t k = 0; k < K; ++k) to[k] += static_cast<double>(values[k]) * values[k];
  if (place.counts) sums.counts[sums.counts.size() == 1 ? 0 : place.matrix] += rows;
}

ImportanceMatrix ImatrixCollector::matrix() const {
  ImportanceMatrix out;
  for (const auto& [name, sums] : sums_) {
    ImportanceEntry& entry = out.entries[name];
    for (const double sum : sums.in_sum2) {
      const auto value = static_cast<float>(sum);
      if (!std::isfinite(value))
        throw Error(cat("tensor ", name, ": expected finite inputs on this text, found others"));
      entry.in_sum2.push_back(value);
    }
    for (const uint64_t count : sums.counts) entry.counts.push_back(static_cast<float>(count));
  }
  return out;
}

ImatrixRun::ImatrixRun(Engine& engine, std::vector<TokenId> ids, const ImatrixOptions& options)
    : engine_(engine), ids_(std::move(ids)), options_(options), collector_(engine.config(), options.output) {
  const size_t whole = ids_.size() / options_.ctx;
  if (whole == 0)
    throw Error(
        cat("the text: expected at least one chunk of ", options_.ctx, " tokens, found ", ids_.size(), " tokens"));
  chunks_ = options_.chunks ? std::min(options_.chunks, whole) : whole;
  left_out_ = ids_.size() - chunks_ * options_.ctx;
}

void ImatrixRun::forward(KvSequence& kv, std::span<const TokenId> ids) {
  if (!kv.reserve(ids.size())) throw ResourceError(cat("KV cache: no page left at position ", kv.length()));
  std::vector<int32_t> positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) positions[i] = static_cast<int32_t>(kv.length() + i);
  const SequenceRows rows{0, ids.size(), kv.length(), kv.pages()};
  Context ctx = engine_.context();
  ctx.observer = &collector_;
  const Tensor hidden =
      engine_.model().forward(ctx, {from_ids(ids), {}, from_ids(positions), {&rows, 1}}, engine_.kv_layout());
  if (options_.output) engine_.model().logits(ctx, hidden);
  kv.advance(ids.size());
}

void ImatrixRun::run(const WorkProgress& progress) {
  const TokenizerSpec* spec = engine_.has_tokenizer() ? &engine_.tokenizer().spec() : nullptr;
  const uint64_t total = chunks_ * options_.ctx;
  for (; chunks_done_ < chunks_; ++chunks_done_) {
    const size_t begin = chunks_done_ * options_.ctx;
    std::vector<TokenId> chunk(ids_.begin() + static_cast<ptrdiff_t>(begin),
                               ids_.begin() + static_cast<ptrdiff_t>(begin + options_.ctx));
    // In the place of the first token, as in llama.cpp: the first position of every text is BOS there.
    if (spec && spec->add_bos && spec->bos) chunk[0] = *spec->bos;
    KvSequence kv(engine_.pool());
    for (size_t at = 0; at < chunk.size();) {
      if (progress) progress(begin + at, total);
      const size_t n = std::min(engine_.prefill_chunk(), chunk.size() - at);
      forward(kv, std::span(chunk).subspan(at, n));
      at += n;
    }
  }
  if (progress) progress(total, total);
}

ImportanceMatrix ImatrixRun::matrix() const {
  ImportanceMatrix out = collector_.matrix();
  out.chunk_count = static_cast<uint32_t>(chunks_done_);
  out.chunk_size = static_cast<uint32_t>(options_.ctx);
  return out;
}

}  // namespace fathom
