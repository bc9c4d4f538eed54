#include "engine/bench.h"

#include <chrono>

#include "base/clock.h"
#include "base/philox.h"
#include "base/work.h"
#include "engine/scheduler.h"

namespace fathom {
namespace {

/// Wants logits once more than there are `next` tokens, and goes on with those.
class Fed final : public Running {
 public:
  Fed(Session& session, std::vector<TokenId> next) : session_(session), next_(std::move(next)) {}
  Session& session() override { return session_; }
  bool done() const override { return done_; }
  void on_logits(std::span<const float>) override {
    if (at_ == next_.size())
      done_ = true;
    else
      session_.append(next_[at_++]);
  }
  void on_pool_full() override { throw ResourceError("bench: no page of the cache is left for the next token"); }

 private:
  Session& session_;
  std::vector<TokenId> next_;
  size_t at_ = 0;
  bool done_ = false;
};

}  // namespace

/// The same for every run; sequences differ.
std::vector<TokenId> BenchRun::tokens(size_t n, size_t sequence) const {
  const auto V = static_cast<double>(engine_.config().vocab_size);
  std::vector<TokenId> ids(n);
  for (size_t i = 0; i < n; ++i)
    ids[i] = static_cast<TokenId>(V * philox_uniform(1, {static_cast<uint32_t>(i), static_cast<uint32_t>(sequence)}));
  return ids;
}

/// Runs what is pending, and `tokens` - 1 more for each.
double BenchRun::run_sessions(size_t tokens) {
  Scheduler scheduler(engine_);
  std::deque<Fed> fed;
  for (size_t i = 0; i < sessions_.size(); ++i)
    scheduler.add(fed.emplace_back(sessions_[i], this->tokens(tokens - 1, sessions_.size() + i)));
  const auto start = std::chrono::steady_clock::now();
  while (!scheduler.idle()) {
    scheduler.step();
    if (stop_) throw Interrupted();
  }
  return seconds_since(start);
}

double BenchRun::prefill(size_t n) {
  clear();
  sessions_.emplace_back(engine_.pool()).set_tokens(tokens(n, 0));
  const double seconds = run_sessions(1);
  clear();
  return seconds;
}

/// So many sessions with `depth` cached tokens and one pending.
void BenchRun::fill(size_t sequences, size_t depth) {
  if (sessions_.size() != sequences) {
    clear();
    for (size_t i = 0; i < sequences; ++i) sessions_.emplace_back(engine_.pool());
  }
  bool filled = true;
  for (size_t i = 0; i < sequences; ++i) filled = sessions_[i].set_tokens(tokens(depth + 1, i)) == depth && filled;
  if (filled) return;
  for (size_t i = 0; i < sequences; ++i) sessions_[i].set_tokens(tokens(depth, i));
  run_sessions(1);
  for (size_t i = 0; i < sequences; ++i) sessions_[i].set_tokens(tokens(depth + 1, i));
}

double BenchRun::decode(size_t sequences, size_t depth, size_t n) {
  fill(sequences, depth);
  return run_sessions(n);
}

double BenchRun::verify(size_t rows, size_t depth, size_t passes) {
  fill(1, depth);
  KvSequence& kv = sessions_[0].kv();
  std::vector<int32_t> positions(rows);
  for (size_t i = 0; i < rows; ++i) positions[i] = static_cast<int32_t>(depth + i);
  const auto start = std::chrono::steady_clock::now();
  for (size_t pass = 0; pass < passes; ++pass) {
    if (stop_) throw Interrupted();
    if (!kv.reserve(rows)) throw ResourceError("bench: no page of the cache is left for the next tokens");
    const std::vector<TokenId> ids = tokens(rows, pass + 1);  // each pass has other ones, and so other experts
    Context ctx = engine_.context();
    const std::vector<SequenceRows> sequence{{0, rows, depth, kv.pages()}};
    engine_.model().logits(
        ctx, engine_.model().forward(ctx, {from_ids(ids), {}, from_ids(positions), sequence}, engine_.kv_layout()));
    kv.truncate(depth);
  }
  return seconds_since(start);
}

}  // namespace fathom
