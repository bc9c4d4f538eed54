// Distillation's loss and gradients against torch autograd (law 3), by the file of tests/golden/distill, and their
// invariance (law 2).
#include "train/distill.h"

#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 1e-5, kGradientTolerance = 1e-4;  // relative; of a tensor's largest entry

struct Case {
  const char* name;
  DivergenceOptions options;
};
constexpr Case kCases[] = {{"forward", {Divergence::kForward, 0, 2}},
                           {"reverse", {Divergence::kReverse, 0, 1}},
                           {"forward_top", {Divergence::kForward, 5, 1}},
                           {"reverse_top", {Divergence::kReverse, 5, 0.7F}}};

struct How {
  size_t threads = 2, micro_batch = 3;
  bool recompute = false;
};

class DistillGolden : public ::testing::Test {
 protected:
  static fs::path folder(const char* name) { return testing::golden_dir() / "train" / name; }

  /// batches[0] of the student's file, with its mask.
  static std::vector<Sample> batch() {
    const SafetensorsFile file(folder("llama") / "golden.safetensors");
    const Tensor ids = file.tensor("batches"), mask = file.tensor("loss_mask");
    std::vector<Sample> out(ids.dim(1));
    for (size_t b = 0; b < out.size(); ++b)
      for (size_t t = 0; t < ids.dim(2); ++t) {
        out[b].ids.push_back(static_cast<TokenId>(ids.data<int64_t>()[b * ids.dim(2) + t]));
        out[b].counts.push_back(mask.data<float>()[b * ids.dim(2) + t] != 0);
      }
    return out;
  }

  /// Gradients of all parameters, micro-batch after micro-batch.
  std::vector<Tensor> gradients(const DivergenceOptions& options, const How& how, DistillSums& sums) {
    const std::unique_ptr<Backend> backend = make_cpu_backend(how.threads);
    ThreadPool pool(how.threads);
    const std::vector<Sample> all = batch();
    Gradients grads;
    for (size_t i = 0; i < all.size(); i += how.micro_batch) {
      const std::span<const Sample> part = std::span(all).subspan(i, std::min(how.micro_batch, all.size() - i));
      TrainingForward student(*backend, *student_, part, {.recompute = how.recompute, .head = false});
      TrainingForward teacher(*backend, *teacher_, part, {.head = false}, /*tape=*/false);
      compare(student, teacher, options, count_targets(all).tokens, best_kernels(), pool, &grads, sums);
      student.backward({}, {}, grads);
    }
    return masters_.gather(*student_, grads);
  }

  Masters masters_ = Masters::from(*open_checkpoint(folder("llama")), 1);
  std::unique_ptr<const Model> student_ = masters_.snapshot(1),
                               teacher_ = load_model(*open_checkpoint(folder("qwen2")));
};

TEST_F(DistillGolden, LossesAndGradientsAreTorchs) {
  const SafetensorsFile file(testing::golden_dir() / "distill" / "golden.safetensors");
  for (const Case& c : kCases) {
    DistillSums sums;
    const std::vector<Tensor> got = gradients(c.options, {}, sums);
    const double want = static_cast<double>(file.tensor(cat(c.name, ".kl")).data<float>()[0]);
    EXPECT_NEAR(sums.kl, want, kTolerance * want) << c.name;
    const double ce =
        static_cast<double>(SafetensorsFile(folder("llama") / "golden.safetensors").tensor("loss.ce").data<float>()[0]);
    EXPECT_NEAR(sums.cross_entropy, ce, kTolerance * ce);
    size_t compared = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string key = cat(c.name, ".grad.", masters_.parameters()[i].name);
      if (!file.has(key)) continue;
      const Tensor wanted = file.tensor(key);
      ASSERT_EQ(got[i].shape(), wanted.shape());
      double worst = 0, largest = 0;
      for (size_t j = 0; j < wanted.count(); ++j) {
        const double w = static_cast<double>(wanted.data<float>()[j]);
        worst = std::max(worst, std::abs(static_cast<double>(got[i].data<float>()[j]) - w));
        largest = std::max(largest, std::abs(w));
      }
      EXPECT_LE(worst, kGradientTolerance * largest) << key;
      ++compared;
    }
    EXPECT_EQ(compared, 3u) << c.name;
  }
}

/// spec/numerics.md 8: threads, micro-batches of whole sequences and activation checkpointing change no bit.
TEST_F(DistillGolden, SameBitsHoweverComputed) {
  for (const Case& c : kCases) {
    DistillSums sums;
    const std::vector<Tensor> want = gradients(c.options, {.threads = 1}, sums);
    for (const How& how : {How{.threads = 3}, How{.micro_batch = 1}, How{.micro_batch = 2, .recompute = true}}) {
      DistillSums again;
      const std::vector<Tensor> got = gradients(c.options, how, again);
      EXPECT_EQ(again.kl, sums.kl);
      EXPECT_EQ(again.cross_entropy, sums.cross_entropy);
      for (size_t i = 0; i < got.size(); ++i)
        EXPECT_EQ(0, std::memcmp(got[i].bytes(), want[i].bytes(), got[i].size_bytes()))
            << c.name << " " << masters_.parameters()[i].name;
    }
  }
}

}  // namespace
}  // namespace fathom
