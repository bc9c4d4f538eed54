#include "train/step_bench.h"

#include <chrono>

#include "base/clock.h"
#include "base/philox.h"
#include "train/forward.h"
#include "train/heap.h"
#include "train/objectives.h"
#include "train/plan.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

double uniform(uint64_t key, size_t i) {
  return philox_uniform(key, {static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0});
}

std::vector<Sample> random_batch(size_t sequences, size_t context, size_t vocab_size) {
  std::vector<Sample> batch(sequences);
  size_t drawn = 0;
  for (Sample& s : batch) {
    s.counts.assign(context + 1, 1);
    for (size_t i = 0; i <= context; ++i)
      s.ids.push_back(static_cast<TokenId>(uniform(/*key=*/1, drawn++) * static_cast<double>(vocab_size)));
  }
  return batch;
}

Tensor random_tensor(const Shape& shape, uint64_t key) {
  Tensor t = make_tensor(DType::kF32, shape);
  for (size_t i = 0; i < t.count(); ++i) t.data<float>()[i] = static_cast<float>(uniform(key, i) - 0.5);
  return t;
}

const ModelConfig& checked(const ModelConfig& config, size_t sequences, size_t context) {
  if (config.vocab_size == 0) throw Error("bench --train: expected a vocab_size above 0 in the configuration, found 0");
  if (sequences == 0 || context == 0 || context > config.max_position_embeddings)
    throw Error(cat("bench --train: expected sequences of 1 to ", config.max_position_embeddings,
                    " tokens (max_position_embeddings), found ", sequences, " of ", context));
  return config;
}

}  // namespace

StepBench::StepBench(const ModelConfig& config, size_t sequences, size_t context, size_t threads,
                     const Kernels& kernels)
    : masters_(Masters::draw(checked(config, sequences, context), {}, threads)),
      optimizer_(masters_.parameters(), {}),
      backend_(make_cpu_backend(threads, kernels)),
      pool_(threads),
      batch_(random_batch(sequences, context, config.vocab_size)),
      tokens_(sequences * context) {
  keep_freed_memory();
  operations_ = training_operations(*masters_.snapshot(threads), tokens_, context);
  const TrainingMemory memory = training_memory(config, masters_.count(), {}, tokens_);
  require_memory(memory, tokens_, "bench --train");
}

double StepBench::run() {
  const Clock::time_point start = Clock::now();
  const std::unique_ptr<const Model> model = masters_.snapshot(backend_->threads());
  Gradients gradients;
  loss_ = 0;
  {
    TrainingForward forward(*backend_, *model, batch_, {.mtp = model->has_mtp(), .head = false});
    const auto count = static_cast<int64_t>(tokens_);
    const std::vector<float> d = cross_entropy_derivatives(forward.targets(), count);
    add_cross_entropy(forward.log_probs_of_known(d, &gradients), forward.targets(), count, loss_);
    forward.backward({}, cross_entropy_derivatives(forward.mtp_targets(), count, /*weight=*/0.1), gradients);
  }
  const std::vector<Tensor> sums = masters_.gather(*model, gradients);
  const float scale = clip_factor(gradient_norm(sums, pool_), /*clip=*/1);
  optimizer_.step(sums, /*learning_rate=*/1e-3, scale, pool_, [](auto... /*unused*/) {});
  return seconds_since(start);
}

ProductBench::ProductBench(size_t T, size_t K, size_t O, size_t threads, const Kernels& kernels)
    : backend_(make_cpu_backend(threads, kernels)),
      w_("bench", random_tensor({O, K}, 2)),
      x_(random_tensor({T, K}, 3)),
      y_(zeros(DType::kF32, {T, O})),
      dy_(random_tensor({T, O}, 4)),
      dx_(zeros(DType::kF32, {T, K})),
      dw_(zeros(DType::kF32, {O, K})) {}

ProductSeconds ProductBench::run() {
  ProductSeconds out;
  LinearOperand operand{.form = LinearForm::kExact, .x = x_, .q = {}, .d = {}, .sums = {}, .half = {}};
  const LinearTask task{.y = y_, .y_stride = w_.O(), .w = &w_, .x = &operand, .T = x_.rows()};
  const Clock::time_point start = Clock::now();
  backend_->linear({&task, 1});
  out.forward = seconds_since(start);
  const LinearBackward both{.w = &w_,
                            .T = x_.rows(),
                            .dy = dy_,
                            .dy_offset = 0,
                            .dy_stride = w_.O(),
                            .x = x_,
                            .x_offset = 0,
                            .x_stride = w_.K(),
                            .dx = dx_,
                            .dx_offset = 0,
                            .dx_stride = w_.K(),
                            .dw = dw_};
  LinearBackward one = both;
  one.dw = {};
  out.input = time(one);
  one = both, one.dx = {};
  out.weight = time(one);
  return out;
}

double ProductBench::time(const LinearBackward& task) {
  const Clock::time_point start = Clock::now();
  backend_->linear_backward({&task, 1});
  return seconds_since(start);
}

}  // namespace fathom
