// Masters of an adapter on the golden models: the start, gradients on a folder and on its GGUF twin, a few steps on a
// quantised base, and the way through a file.
#include "train/adapter_masters.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "tests/testing.h"
#include "train/forward.h"
#include "train/optimizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<const Model> model_of(const std::string& path) {
  return load_model(*open_checkpoint(testing::golden_dir() / path));
}

Sample sample(uint64_t seed) {
  Sample out;
  for (const uint8_t byte : testing::random_bytes(24, seed)) out.ids.push_back(2 + byte);
  out.counts.assign(out.ids.size(), 1);
  return out;
}

struct Step {
  double loss = 0;
  std::vector<Tensor> gradients;
};

/// Mean negative log-probability of the sample's tokens, and its gradients.
Step step(const Model& model, const AdapterMasters& masters, const Sample& s, Profile profile, bool recompute = false) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  const Adapter adapter = masters.snapshot();
  TrainingForward forward(*backend, model, {&s, 1}, {.profile = profile, .adapter = &adapter, .recompute = recompute});
  const auto n = static_cast<double>(forward.log_probs().size());
  Step out;
  for (const float logp : forward.log_probs()) out.loss -= static_cast<double>(logp) / n;
  const std::vector<float> d(forward.log_probs().size(), static_cast<float>(-1 / n));
  Gradients gradients;
  forward.backward(d, {}, gradients);
  for (const Weight* w : model.weights().in_order()) EXPECT_FALSE(gradients.has(*w)) << w->name() << " is frozen";
  out.gradients = masters.gather(adapter, gradients);
  return out;
}

/// B away from 0, so that A gets gradients too.
void move_b(AdapterMasters& masters) {
  for (Parameter& p : masters.parameters())
    if (p.name.ends_with("lora_B.weight")) {
      const std::vector<float> values = testing::random_floats(p.value.count(), p.name.size());
      for (size_t i = 0; i < values.size(); ++i) p.value.data<float>()[i] = 0.1f * values[i];
    }
}

TEST(AdapterMastersTest, BeginsAsTheModelWithPeftsBounds) {
  const std::unique_ptr<const Model> model = model_of("models/llama-tied");
  AdapterMasters masters = AdapterMasters::draw(*model, {.r = 4, .targets = {"q_proj", "mlp.down_proj"}, .seed = 3});
  ASSERT_EQ(masters.parameters().size(), 2 * 2 * model->config().num_hidden_layers);
  for (const Parameter& p : masters.parameters()) {
    const double bound = p.name.ends_with("lora_A.weight") ? 1 / std::sqrt(static_cast<double>(p.value.dim(1))) : 0;
    double largest = 0, sum = 0;
    for (const float x : p.value.span<float>())
      largest = std::max(largest, std::abs(static_cast<double>(x))), sum += static_cast<double>(x);
    EXPECT_LE(largest, bound) << p.name;
    EXPECT_GE(largest, 0.9 * bound) << p.name;
    EXPECT_LE(std::abs(sum), 4 * bound * std::sqrt(static_cast<double>(p.value.count()) / 3)) << p.name;
  }
  EXPECT_NE(masters.parameters()[0].value.data<float>()[0], masters.parameters()[2].value.data<float>()[0]);
  const AdapterMasters again =
      AdapterMasters::draw(*model, {.r = 4, .targets = {"mlp.down_proj", "q_proj"}, .seed = 3});
  EXPECT_EQ(adapter_id(again.adapter()), adapter_id(masters.adapter()));
  const AdapterMasters other =
      AdapterMasters::draw(*model, {.r = 4, .targets = {"q_proj", "mlp.down_proj"}, .seed = 4});
  EXPECT_NE(adapter_id(other.adapter()), adapter_id(masters.adapter()));

  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  const Sample s = sample(1);
  const TrainingForward plain(*backend, *model, {&s, 1}, {}, false);
  const Adapter adapter = masters.snapshot();
  const TrainingForward adapted(*backend, *model, {&s, 1}, {.adapter = &adapter}, false);
  EXPECT_TRUE(std::ranges::equal(plain.log_probs(), adapted.log_probs()));
}

TEST(AdapterMastersTest, AllLinearTakesWhatCanBeAdapted) {
  const std::unique_ptr<const Model> model = model_of("models/v3");
  const AdapterMasters masters = AdapterMasters::draw(*model, {.r = 1});
  EXPECT_THAT(masters.adapter().target_modules,
              ::testing::ElementsAre("down_proj", "eh_proj", "gate_proj", "kv_a_proj_with_mqa", "o_proj", "q_a_proj",
                                     "q_b_proj", "up_proj"));
  for (const PeftMatrix& m : masters.adapter().matrices) {
    EXPECT_EQ(m.weight.find("mlp.experts."), m.weight.npos) << m.weight;
    EXPECT_FALSE(m.weight.ends_with("mlp.gate.weight")) << m.weight;
  }
  EXPECT_THROW(AdapterMasters::draw(*model, {.targets = {"kv_b_proj"}}), Error);
  EXPECT_THROW(AdapterMasters::draw(*model, {.targets = {"lm_head"}}), Error);
  EXPECT_THROW(AdapterMasters::draw(*model, {.targets = {"q_a_proj", "q_porj"}}), Error);
  EXPECT_THROW(AdapterMasters::draw(*model, {.r = 0}), Error);
}

/// The rows of GGUF's llama stand in another order, and the masters do not: the same gradients but for rounding.
TEST(AdapterMastersTest, GradientsOfAFolderAndOfItsGguf) {
  const std::unique_ptr<const Model> folder = model_of("models/llama-tied"), gguf = model_of("gguf/llama-tied.gguf");
  AdapterMasters a = AdapterMasters::draw(*folder, {.r = 2}), b = AdapterMasters::draw(*gguf, {.r = 2});
  ASSERT_EQ(adapter_id(a.adapter()), adapter_id(b.adapter()));
  move_b(a), move_b(b);
  const Step of_a = step(*folder, a, sample(1), Profile::kExact),
             of_b = step(*gguf, b, sample(1), Profile::kExact, true);
  EXPECT_NEAR(of_a.loss, of_b.loss, 1e-5);
  for (size_t i = 0; i < of_a.gradients.size(); ++i) {
    double worst = 0, largest = 0;
    for (size_t j = 0; j < of_a.gradients[i].count(); ++j) {
      const double x = static_cast<double>(of_a.gradients[i].data<float>()[j]);
      worst = std::max(worst, std::abs(x - static_cast<double>(of_b.gradients[i].data<float>()[j])));
      largest = std::max(largest, std::abs(x));
    }
    EXPECT_GT(largest, 0) << a.parameters()[i].name;
    EXPECT_LE(worst, 1e-4 * largest) << a.parameters()[i].name;
  }
}

TEST(AdapterMastersTest, LearnsOnAQuantisedBaseInTheSamplersProfile) {
  const std::unique_ptr<const Model> model = model_of("gguf/qwen2-wide.Q4_K_M.gguf");
  AdapterMasters masters = AdapterMasters::draw(*model, {.r = 4});
  Optimizer optimizer(masters.parameters(), {.weight_decay = 0});
  ThreadPool pool(2);
  const auto no_product = [](auto&&...) { FAIL() << "AdamW alone"; };
  const double before = step(*model, masters, sample(1), Profile::kInt8).loss;
  for (int i = 0; i < 12; ++i) {
    const Step s = step(*model, masters, sample(1), Profile::kInt8);
    optimizer.step(s.gradients, 5e-3, 1, pool, no_product);
  }
  const Step after = step(*model, masters, sample(1), Profile::kInt8);
  EXPECT_LT(after.loss, 0.5 * before);

  const testing::TempDir dir;
  masters.save(dir.path(), "someone/base");
  const AdapterMasters loaded = AdapterMasters::from(read_peft_adapter(dir.path()), *model);
  EXPECT_EQ(step(*model, loaded, sample(1), Profile::kInt8).loss, after.loss);
}

}  // namespace
}  // namespace fathom
