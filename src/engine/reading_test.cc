// Prompts that are read and not continued: what they give is what the forward gives, alone and in any company.
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "engine/forced.h"
#include "engine/model_host.h"
#include "tests/testing.h"

namespace fathom {
namespace {

class Ear final : public GenerationListener {
 public:
  void on_token(const AnswerToken&) override { ++tokens; }
  void on_done(Answer answer) override { result_.set_value(std::move(answer)); }
  void on_failed(std::exception_ptr error) override { result_.set_exception(std::move(error)); }
  Answer wait() { return result_.get_future().get(); }
  std::atomic<size_t> tokens = 0;

 private:
  std::promise<Answer> result_;
};

class Readings : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_.path)) GTEST_SKIP() << "needs golden/gguf/qwen2.gguf";
    // Texts that begin alike in twos, longer than a chunk and than a page.
    for (size_t i = 0; i < 8; ++i) {
      std::mt19937_64 random(i / 2);
      for (size_t t = 0; t < 70 + 15 * i; ++t)
        texts_.resize(i + 1), texts_[i].push_back(static_cast<TokenId>(random() % 300));
    }
    const std::unique_ptr<Engine> engine = Engine::load(model_.path, model_.options);
    for (const std::vector<TokenId>& ids : texts_)
      forced_.push_back(std::move(forced_forward(*engine, {ids}, {.layers = true}).front()));
  }
  static AnswerOptions options() {
    AnswerOptions o;
    o.sampling.temperature = 1, o.sampling.seed = 5, o.max_tokens = 20, o.ignore_eos = true, o.plain = true;
    return o;
  }
  /// All texts at once, beside an answer, in a cache that cannot hold them all.
  std::vector<Answer> read(const AnswerOptions& reading) {
    ModelHost host({model_}, {});
    const std::shared_ptr<LoadedModel> model = host.acquire("a");
    const auto other = std::make_shared<Ear>();
    host.submit(model, prepare_prompt(model->engine(), texts_[1]), options(), other);
    std::vector<std::shared_ptr<Ear>> ears;
    for (const std::vector<TokenId>& ids : texts_) {
      ears.push_back(std::make_shared<Ear>());
      host.submit(model, prepare_prompt(model->engine(), ids), reading, ears.back());
    }
    std::vector<Answer> answers;
    for (const auto& ear : ears) {
      answers.push_back(ear->wait());
      EXPECT_EQ(ear->tokens, 0u);
      EXPECT_EQ(answers.back().finish_reason, FinishReason::kStop);
    }
    EXPECT_EQ(other->wait().ids.size(), 20u);
    return answers;
  }
  const HostedModel model_ = {
      "a",
      testing::golden_dir() / "gguf" / "qwen2.gguf",
      {.profile = Profile::kExact, .threads = 1, .ctx = 200, .sequences = 2, .prefill_chunk = 32},
      ""};
  std::vector<std::vector<TokenId>> texts_;
  std::vector<ForcedOutputs> forced_;
};

TEST_F(Readings, AnEmbeddingIsTheHiddenStates) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    AnswerOptions o = options();
    o.pooling = pooling;
    const std::vector<Answer> answers = read(o);
    for (size_t i = 0; i < texts_.size(); ++i) {
      const Tensor& rows = forced_[i].final_norm;
      const size_t D = rows.shape().back(), T = texts_[i].size();
      std::vector<float> want(D);
      for (size_t d = 0; d < D; ++d) {
        double sum = 0;
        for (size_t t = pooling == Pooling::kMean ? 0 : T - 1; t < T; ++t) sum += double{rows.data<float>()[t * D + d]};
        want[d] = static_cast<float>(pooling == Pooling::kMean ? sum / static_cast<double>(T) : sum);
      }
      EXPECT_EQ(answers[i].embedding, want) << "text " << i;
      EXPECT_EQ(answers[i].stats.prompt_tokens, T);
    }
  }
}

TEST_F(Readings, ScoresAreLogProbabilitiesOfTheNextToken) {
  AnswerOptions o = options();
  o.scored = {7, 250, 7};
  const std::vector<Answer> answers = read(o);
  for (size_t i = 0; i < texts_.size(); ++i) {
    const size_t V = forced_[i].logits.shape().back();
    const std::span last(forced_[i].logits.data<float>() + (texts_[i].size() - 1) * V, V);
    std::vector<float> want;
    for (const TokenId id : o.scored) want.push_back(log_softmax_at(last, id));
    EXPECT_EQ(answers[i].scores, want) << "text " << i;
  }
  o.scored = {100000};
  EXPECT_THROW(read(o), Error);
}

}  // namespace
}  // namespace fathom
