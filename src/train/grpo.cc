#include "train/grpo.h"

#include <algorithm>
#include <bit>
#include <iomanip>
#include <limits>

#include "train/forward.h"

namespace fathom {
namespace {

std::vector<Sample> samples_of(std::span<const Rollout> answers) {
  std::vector<Sample> samples;
  samples.reserve(answers.size());
  for (const Rollout& answer : answers) samples.push_back(sample_of(answer));
  return samples;
}

/// As the engine computes.
ForwardOptions forward_options(Engine& engine, float temperature) {
  return {.profile = engine.info().profile,
          .cache_type = engine.info().cache_type,
          .temperature = temperature,
          .adapter = engine.context().adapter};
}

/// Calls f(first, n) for the answers of each forward.
template <class F>
void for_micro_batches(size_t answers, size_t micro_batch, const F& f) {
  const size_t most = micro_batch == 0 ? answers : micro_batch;
  for (size_t i = 0; i < answers; i += most) f(i, std::min(most, answers - i));
}

/// The row of log_probs() with the first token of answer i.
size_t first_row(const TrainingForward& forward, std::span<const Rollout> answers, size_t i) {
  return forward.rows()[i].row + answers[i].prompt_tokens - 1;
}

/// The numbers of the answers' tokens, one answer after the other.
std::vector<float> of_answers(const TrainingForward& forward, std::span<const Rollout> answers) {
  std::vector<float> out;
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto numbers = forward.log_probs().subspan(first_row(forward, answers, i), answers[i].logprobs.size());
    out.insert(out.end(), numbers.begin(), numbers.end());
  }
  return out;
}

std::string exactly(float x) {
  std::ostringstream out;
  out << std::setprecision(std::numeric_limits<float>::max_digits10) << x << " (0x" << std::hex
      << std::bit_cast<uint32_t>(x) << ")";
  return std::move(out).str();
}

/// Law 1. `found`: as of_answers. Returns the tokens compared.
size_t require_same_bits(std::span<const Rollout> answers, std::span<const float> found) {
  size_t at = 0;
  for (const Rollout& answer : answers)
    for (size_t t = 0; t < answer.logprobs.size(); ++t, ++at)
      if (std::bit_cast<uint32_t>(answer.logprobs[t]) != std::bit_cast<uint32_t>(found[at]))
        throw Error(cat("sampler and trainer disagree: prompt ", answer.prompt, ", sample ", answer.sample, ", token ",
                        t, " of the answer (id ", answer.completion()[t],
                        "): expected the log-probability that it was drawn with, ", exactly(answer.logprobs[t]),
                        ", found ", exactly(found[at])));
  return at;
}

void add_loads(std::vector<ExpertLoad>& sums, const std::vector<ExpertLoad>& loads) {
  if (sums.empty()) sums.resize(loads.size());
  for (size_t i = 0; i < loads.size(); ++i) {
    sums[i].gate = loads[i].gate;
    sums[i].counts.resize(loads[i].counts.size());
    for (size_t e = 0; e < loads[i].counts.size(); ++e) sums[i].counts[e] += loads[i].counts[e];
  }
}

void add(GrpoSums& sums, const GrpoSums& more) {
  PolicySums& p = sums.policy;
  const PolicySums& q = more.policy;
  p.loss += q.loss, p.ratio += q.ratio, p.kl += q.kl, p.logprob += q.logprob;
  p.ratio_max = std::max(p.ratio_max, q.ratio_max);
  p.tokens += q.tokens, p.clipped_high += q.clipped_high, p.clipped_low += q.clipped_low;
  p.sequences += q.sequences, p.left_out += q.left_out, p.off_policy += q.off_policy;
  sums.balance_loss += more.balance_loss;
  add_loads(sums.loads, more.loads);
}

/// The experts of each answer's rows, router by router: cut out of forwards, joined for others.
class KeptRouting {
 public:
  /// Of a forward over the next answers.
  void add(const TrainingForward& forward) {
    for (const SequenceRows& rows : forward.rows()) {
      std::vector<ExpertChoice>& answer = answers_.emplace_back();
      for (const ExpertChoice& all : forward.pass().choices) {
        const size_t total = forward.targets().size(), k = all.ids.size() / total;
        const auto from = all.ids.begin() + static_cast<ptrdiff_t>(rows.row * k);
        answer.push_back({all.gate, {from, from + static_cast<ptrdiff_t>(rows.rows * k)}});
      }
    }
  }
  /// Of answers [first, first + n) together, as a forward lays their rows.
  std::vector<ExpertChoice> of(size_t first, size_t n) const {
    std::vector<ExpertChoice> out = answers_[first];
    for (size_t i = first + 1; i < first + n; ++i)
      for (size_t router = 0; router < out.size(); ++router)
        out[router].ids.insert(out[router].ids.end(), answers_[i][router].ids.begin(), answers_[i][router].ids.end());
    return out;
  }
  size_t size() const { return answers_.size(); }

 private:
  std::vector<std::vector<ExpertChoice>> answers_;
};

uint64_t verify(Engine& engine, std::span<const Rollout> answers, float temperature, size_t micro_batch,
                KeptRouting* kept) {
  uint64_t tokens = 0;
  for_micro_batches(answers.size(), micro_batch, [&](size_t i, size_t n) {
    const std::span<const Rollout> part = answers.subspan(i, n);
    ForwardOptions how = forward_options(engine, temperature);
    how.note_choices = kept != nullptr;
    const TrainingForward forward(engine.context().backend, engine.model(), samples_of(part), how, /*tape=*/false);
    tokens += require_same_bits(part, of_answers(forward, part));
    if (kept) kept->add(forward);
  });
  return tokens;
}

/// Answers [first, first + n) of a batch.
struct Part {
  std::span<const Rollout> answers;
  std::span<const float> advantages;
  std::span<const uint8_t> kept;

  Part(const GrpoBatch& batch, size_t first, size_t n)
      : answers(std::span(batch.answers).subspan(first, n)),
        advantages(std::span(batch.advantages).subspan(first, n)),
        kept(std::span(batch.kept).subspan(first, n)) {}
  std::vector<size_t> lengths() const {
    std::vector<size_t> out;
    for (const Rollout& answer : answers) out.push_back(answer.logprobs.size());
    return out;
  }
  std::vector<float> old_logprobs() const {
    std::vector<float> out;
    for (const Rollout& answer : answers) out.insert(out.end(), answer.logprobs.begin(), answer.logprobs.end());
    return out;
  }
};

/// Gradients of a batch, update after update.
class Learner {
 public:
  Learner(Engine& engine, const GrpoBatch& batch, const GrpoOptions& options, const Model* reference)
      : engine_(engine), batch_(batch), options_(options), reference_(reference) {}

  /// All but the first update's answers [0, first), whose own forward computes the same: one forward less.
  void verify_behind(size_t first) {
    learned_.verified_tokens = verify(engine_, std::span(batch_.answers).subspan(first), options_.temperature,
                                      options_.micro_batch, options_.keep_routing ? &kept_ : nullptr);
  }

  /// Of answers [first, first + n), micro-batch after micro-batch.
  GrpoSums add_gradients(size_t first, size_t n, Gradients& gradients) {
    const Part whole(batch_, first, n);
    const PolicyCounts counts = count_policy(whole.lengths(), whole.kept);
    GrpoSums sums;
    for_micro_batches(n, options_.micro_batch, [&](size_t i, size_t m) {
      if (options_.progress && learned_.updates == 0) options_.progress(first + i, batch_.answers.size());
      std::vector<ExpertChoice> experts;
      if (first != 0 && options_.keep_routing)
        experts = kept_.of(first + i - (batch_.answers.size() - kept_.size()), m);
      add_micro_batch(Part(batch_, first + i, m), counts, /*verify=*/first == 0, experts, sums, gradients);
    });
    add(learned_, sums);
    return sums;
  }
  GrpoLearned& learned() { return learned_; }

 private:
  /// `experts`: of keep_routing; empty: the routers choose.
  void add_micro_batch(const Part& part, const PolicyCounts& counts, bool verify,
                       const std::vector<ExpertChoice>& experts, GrpoSums& sums, Gradients& gradients) {
    Backend& backend = engine_.context().backend;
    const std::vector<Sample> samples = samples_of(part.answers);
    ForwardOptions how = forward_options(engine_, options_.temperature);
    ForwardOptions plain = how;
    plain.adapter = nullptr;
    std::vector<float> reference;
    if (reference_) reference = of_answers({backend, *reference_, samples, plain, /*tape=*/false}, part.answers);
    how.balance_weight = options_.balance_alpha / static_cast<double>(counts.sequences);
    how.recompute = options_.recompute;
    if (!experts.empty()) how.kept_choices = &experts;
    TrainingForward forward(backend, engine_.model(), samples, how);
    const std::vector<float> logprobs = of_answers(forward, part.answers), old = part.old_logprobs();
    if (verify) learned_.verified_tokens += require_same_bits(part.answers, logprobs);
    const std::vector<size_t> lengths = part.lengths();
    const std::vector<float> derivatives = policy_loss({.logprobs = logprobs,
                                                        .old_logprobs = old,
                                                        .ref_logprobs = reference,
                                                        .lengths = lengths,
                                                        .advantages = part.advantages,
                                                        .kept = part.kept},
                                                       options_.objective, counts, sums.policy);
    forward.backward(at_rows(forward, part.answers, derivatives), {}, gradients);
    sums.balance_loss += forward.pass().balance_loss;
    add_loads(sums.loads, forward.pass().loads);
  }

  /// The derivatives of the answers' tokens, 0 at all other rows.
  static std::vector<float> at_rows(const TrainingForward& forward, std::span<const Rollout> answers,
                                    std::span<const float> derivatives) {
    std::vector<float> out(forward.log_probs().size());
    for (size_t i = 0; i < answers.size(); ++i) {
      const size_t n = answers[i].logprobs.size();
      std::copy_n(derivatives.begin(), n, out.begin() + static_cast<ptrdiff_t>(first_row(forward, answers, i)));
      derivatives = derivatives.subspan(n);
    }
    return out;
  }

  Engine& engine_;
  const GrpoBatch& batch_;
  const GrpoOptions& options_;
  const Model* reference_;
  KeptRouting kept_;  // of the answers behind the first update
  GrpoLearned learned_;
};

}  // namespace

uint64_t verify_rollouts(Engine& engine, std::span<const Rollout> answers, float temperature, size_t micro_batch) {
  return verify(engine, answers, temperature, micro_batch, nullptr);
}

GrpoLearned learn_grpo(Engine& engine, const GrpoBatch& batch, const GrpoOptions& options, const Model* reference,
                       PolicyUpdate update) {
  require_valid(options);
  check((reference == nullptr) == (options.objective.beta == 0), "a reference is given exactly where the KL counts");
  const size_t n = batch.answers.size();
  if (n == 0) return {};
  const size_t updates = std::min(options.updates, n);           // dynamic sampling may have found few groups
  const auto share = [&](size_t u) { return n * u / updates; };  // where update u begins
  Learner learner(engine, batch, options, reference);
  GrpoLearned& learned = learner.learned();
  learner.verify_behind(share(1));
  for (size_t u = 0; u < updates; ++u) {
    Gradients gradients;
    const GrpoSums sums = learner.add_gradients(share(u), share(u + 1) - share(u), gradients);
    learned.updates += update(gradients, sums);
  }
  return learned;
}

}  // namespace fathom
