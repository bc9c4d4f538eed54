#include "train/forward.h"

#include <algorithm>
#include <cstring>

#include "ops/elementwise.h"

namespace fathom {
namespace {

bool counts(const Sample& s, size_t i) { return i < s.ids.size() && s.counts[i] != 0; }

}  // namespace

TargetCounts count_targets(std::span<const Sample> samples) {
  TargetCounts out;
  for (const Sample& s : samples)
    for (size_t i = 1; i < s.ids.size(); ++i) {
      out.tokens += counts(s, i);
      out.mtp_tokens += i >= 2 && counts(s, i);
    }
  return out;
}

TrainingForward::TrainingForward(Backend& backend, const Model& model, std::span<const Sample> samples,
                                 const ForwardOptions& options, bool tape)
    : backend_(backend), model_(model), options_(options), pool_(model.kv_layout(options.cache_type), SIZE_MAX) {
  pass_.balance_weight = options.balance_weight;
  pass_.recompute = options.recompute;
  pass_.kept_choices = options.kept_choices;
  pass_.note_choices = options.note_choices;
  lay_rows(samples, options.last_row);
  Context ctx = context(tape ? &tape_ : nullptr);
  const Tensor hidden = model.forward(ctx, {ids_, {}, positions_, rows_}, pool_.layout());
  if (options.head)
    log_probs_ = model.log_probs(ctx, hidden, targets_, options.temperature);
  else
    hidden_ = hidden;
  if (options.mtp) run_mtp(ctx, model, samples, hidden);
}

Context TrainingForward::context(Tape* tape) {
  return {
      .backend = backend_, .profile = options_.profile, .tape = tape, .training = &pass_, .adapter = options_.adapter};
}

void TrainingForward::for_logits(Gradients* gradients, FunctionRef<void(size_t first, const Tensor& logits)> f) {
  check(hidden_.defined(), "the forward stopped at the hidden states");
  Context ctx = context(nullptr);
  pass_.rows = rows_;  // not the MTP module's
  model_.for_logits(ctx, hidden_, gradients, f);
}

std::vector<float> TrainingForward::log_probs_of_known(std::span<const float> dlog_probs, Gradients* gradients) {
  const Tensor out = make_tensor(DType::kF32, {targets_.count()});
  const Tensor dout = make_tensor(DType::kF32, out.shape());
  if (gradients) std::ranges::copy(dlog_probs, dout.span<float>().begin());
  for_logits(gradients, [&](size_t first, const Tensor& logits) {
    const size_t n = logits.rows();
    const Tensor targets = targets_.slice(first, n);
    backend_.log_probs(out.slice(first, n), logits, targets, options_.temperature);
    if (gradients) backend_.log_probs_backward(logits, dout.slice(first, n), targets, options_.temperature);
  });
  const std::span<const float> values = out.span<float>();
  return {values.begin(), values.end()};
}

Tensor TrainingForward::logits(size_t first, size_t n) {
  check(hidden_.defined(), "the forward stopped at the hidden states");
  Context ctx = context(nullptr);
  return model_.logits(ctx, hidden_.slice(first, n));
}

TrainingForward::~TrainingForward() = default;

void TrainingForward::lay_rows(std::span<const Sample> samples, bool last_row) {
  std::vector<int32_t> ids, positions, targets;
  sequences_.reserve(samples.size());
  for (const Sample& s : samples) {
    if (s.ids.size() < 2) throw Error(cat("training sample: expected at least 2 tokens, found ", s.ids.size()));
    check(s.counts.size() == s.ids.size(), "each token of a sample counts or not");
    const size_t n = s.ids.size() - (last_row ? 0 : 1);
    KvSequence& sequence = sequences_.emplace_back(pool_);
    check(sequence.reserve(n), "the pool has no limit");
    rows_.push_back({ids.size(), n, 0, sequence.pages()});
    for (size_t i = 0; i < n; ++i) {
      ids.push_back(s.ids[i]);
      positions.push_back(static_cast<int32_t>(i));
      targets.push_back(counts(s, i + 1) ? s.ids[i + 1] : -1);
    }
  }
  ids_ = from_ids(ids), positions_ = from_ids(positions), targets_ = from_ids(targets);
}

void TrainingForward::run_mtp(Context& ctx, const Model& model, std::span<const Sample> samples, const Tensor& hidden) {
  std::vector<int32_t> ids, positions, targets, hidden_rows;
  for (size_t s = 0; s < samples.size(); ++s) {
    const Sample& sample = samples[s];
    const size_t n = sample.ids.size() - 1;  // position i reads token i + 1
    mtp_rows_.push_back({ids.size(), n, 0, sequences_[s].pages()});
    for (size_t i = 0; i < n; ++i) {
      ids.push_back(sample.ids[i + 1]);
      positions.push_back(static_cast<int32_t>(i));
      targets.push_back(counts(sample, i + 2) ? sample.ids[i + 2] : -1);
      hidden_rows.push_back(static_cast<int32_t>(rows_[s].row + i));
    }
  }
  mtp_targets_ = from_ids(targets);
  const Tensor h = hidden_rows.size() == hidden.rows() ? hidden : take_rows(ctx, hidden, from_ids(hidden_rows));
  const Tensor y = model.mtp_forward(ctx, {from_ids(ids), {}, from_ids(positions), mtp_rows_}, h, pool_.layout());
  mtp_log_probs_ = model.mtp_log_probs(ctx, y, mtp_targets_);
}

std::span<const float> TrainingForward::mtp_log_probs() const {
  return mtp_log_probs_.defined() ? mtp_log_probs_.span<float>() : std::span<const float>();
}
std::span<const int32_t> TrainingForward::mtp_targets() const {
  return mtp_targets_.defined() ? mtp_targets_.span<int32_t>() : std::span<const int32_t>();
}

void TrainingForward::backward(std::span<const float> dlog_probs, std::span<const float> dmtp_log_probs,
                               Gradients& gradients) {
  const auto seed = [&](const Tensor& y, std::span<const float> dy) {
    check(dy.size() == y.count(), "a gradient for each row");
    std::memcpy(gradients.of(y).bytes(), dy.data(), dy.size_bytes());
  };
  if (log_probs_.defined()) seed(log_probs_, dlog_probs);
  if (mtp_log_probs_.defined()) seed(mtp_log_probs_, dmtp_log_probs);
  tape_.run(gradients);
}

}  // namespace fathom
