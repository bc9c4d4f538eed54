#include "engine/replay.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/clock.h"
#include "base/work.h"
#include "engine/scheduler.h"
#include "engine/session.h"

namespace fathom {
namespace {

class Replaying final : public Running {
 public:
  Replaying(Engine& engine, std::span<const TokenId> text, bool speculate) : session_(engine.pool()), text_(text) {
    session_.set_tokens(text.first(1));
    if (speculate) speculation_.emplace(text.first(1));
  }
  Session& session() override { return session_; }
  bool done() const override { return paused_ || at_end(); }
  void on_logits(std::span<const float>) override {
    const TokenId id = text_[position()];
    session_.append(id);
    if (speculation_) speculation_->append(id);
  }
  /// As for an answer, the last token needs no forward after it.
  std::span<const Draft> drafts() override {
    if (!speculation_) return {};
    return speculation_->drafts(std::min(text_.size() - position() - 1, Speculation::kMost));
  }
  /// Right guesses may lead beyond the end of a piece: they count for the next.
  void on_verified(size_t drafted, size_t accepted) override {
    ++stats.passes, stats.drafted += drafted, stats.accepted += accepted;
    paused_ = position() >= until_;
  }
  void on_pool_full() override { throw ResourceError("replay: no page of the cache is left for the next token"); }

  size_t position() const { return session_.tokens().size(); }
  bool at_end() const { return position() == text_.size(); }

  /// Goes on until it has `tokens` tokens or more. Returns the seconds.
  double run(Engine& engine, size_t tokens, const std::atomic<bool>& stop) {
    if (position() >= tokens) return 0;
    until_ = tokens;
    paused_ = false;
    Scheduler scheduler(engine);
    scheduler.add(*this);
    const auto start = std::chrono::steady_clock::now();
    while (!scheduler.idle()) {
      scheduler.step();
      if (stop) throw Interrupted();
    }
    return seconds_since(start);
  }

  SpeculationStats stats;

 private:
  Session session_;
  std::span<const TokenId> text_;
  std::optional<Speculation> speculation_;  // nullopt: switched off
  size_t until_ = 0;
  bool paused_ = false;
};

}  // namespace

double Replayed::tokens_per_pass() const {
  return speculation.passes ? static_cast<double>(tokens + 1) / static_cast<double>(speculation.passes) : 0;
}

Replayed replay(Engine& engine, std::span<const TokenId> text, const std::atomic<bool>& stop) {
  check(text.size() >= 3, "a text to replay has three tokens");
  Replaying on(engine, text, true), off(engine, text, false);
  for (Replaying* r : {&on, &off}) r->run(engine, 2, stop);
  Replayed out{.tokens = text.size() - 2};
  bool first = true;  // both take turns in going first, too
  for (size_t end = 2; end < text.size(); first = !first) {
    end = std::min(end + kReplayPiece, text.size());
    if (!first) out.seconds_off += off.run(engine, end, stop);
    out.seconds += on.run(engine, end, stop);
    if (first) out.seconds_off += off.run(engine, end, stop);
  }
  out.speculation = on.stats;
  out.text = on.session().tokens(), out.text_off = off.session().tokens();
  return out;
}

}  // namespace fathom
