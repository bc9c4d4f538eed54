// The absorbed form of MLA against the naive one (spec/models.md 4, steps 1 to 5), computed here in double.
#include "models/parts/mla.h"

#include "cache/kv_cache.h"
#include "models/parts/rope_table.h"
#include "tests/testing.h"

namespace fathom {
namespace {

/// A checkpoint of random f32 tensors for one MLA layer.
class RandomCheckpoint final : public Checkpoint {
 public:
  explicit RandomCheckpoint(ModelConfig config) : config_(std::move(config)) {}
  void put(const std::string& name, const Shape& shape, float scale) {
    const uint64_t seed = std::hash<std::string>()(name) % 1000;
    std::vector<float> values = testing::random_floats(shape.count(), seed);
    for (float& v : values) v *= scale;
    tensors_[name] = from_values(values, shape);
  }
  const ModelConfig& config() const override { return config_; }
  const GenerationConfig& generation_config() const override { return generation_; }
  std::optional<TokenizerSpec> tokenizer() const override { return std::nullopt; }
  bool has(std::string_view name) const override { return tensors_.count(std::string(name)) != 0; }
  StoredTensor find(std::string_view name) const override { return {tensors_.at(std::string(name)), {}}; }
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  Tensor stored(size_t) const override { return {}; }
  uint64_t weight_bytes() const override { return 1; }
  std::string description() const override { return "random"; }
  void release(const Tensor&) const override {}

 private:
  ModelConfig config_;
  GenerationConfig generation_;
  std::map<std::string, Tensor> tensors_;
  std::vector<TensorInfo> infos_;
};

using Rows = std::vector<std::vector<double>>;

Rows product(const Tensor& w, const Rows& x) {
  Rows y(x.size(), std::vector<double>(w.dim(0)));
  for (size_t t = 0; t < x.size(); ++t)
    for (size_t o = 0; o < w.dim(0); ++o)
      for (size_t k = 0; k < w.dim(1); ++k) y[t][o] += static_cast<double>(w.data<float>()[o * w.dim(1) + k]) * x[t][k];
  return y;
}
void norm(std::vector<double>& row, size_t n, const Tensor& w) {
  double ss = 0;
  for (size_t i = 0; i < n; ++i) ss += row[i] * row[i];
  for (size_t i = 0; i < n; ++i) row[i] *= w.data<float>()[i] / std::sqrt(ss / static_cast<double>(n) + 1e-6);
}
void rotate(double* x, size_t position, const RopeTable& table) {
  for (size_t i = 0; i < table.inv_freq.count(); ++i) {
    const double a = static_cast<float>(position) * table.inv_freq.data<float>()[i];
    const double x1 = x[2 * i], x2 = x[2 * i + 1];
    x[2 * i] = x1 * std::cos(a) - x2 * std::sin(a);
    x[2 * i + 1] = x2 * std::cos(a) + x1 * std::sin(a);
  }
}

TEST(Mla, AbsorbedEqualsNaive) {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.hidden_size = 64, c.num_attention_heads = c.num_key_value_heads = 4, c.q_lora_rank = 24, c.kv_lora_rank = 16;
  c.qk_nope_head_dim = 8, c.qk_rope_head_dim = 4, c.v_head_dim = 12, c.rope_interleaved = true;
  const size_t T = 150, H = 4, qk = 12, joined = 20;
  RandomCheckpoint checkpoint(c);
  checkpoint.put("q_a_proj.weight", {24, 64}, 0.2f), checkpoint.put("q_a_layernorm.weight", {24}, 1),
      checkpoint.put("q_b_proj.weight", {H * qk, 24}, 0.3f);
  checkpoint.put("kv_a_proj_with_mqa.weight", {20, 64}, 0.2f), checkpoint.put("kv_a_layernorm.weight", {16}, 1);
  checkpoint.put("kv_b_proj.weight", {H * joined, 16}, 0.3f), checkpoint.put("o_proj.weight", {64, H * 12}, 0.2f);

  Weights weights;
  WeightLoader loader(checkpoint, weights);
  const std::unique_ptr<Attention> mla = load_mla(loader, "");
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  Context ctx{.backend = *backend};
  KvLayout layout;
  layout.add_mla(20);
  KvPool pool(layout, 8);
  KvSequence kv(pool);
  ASSERT_TRUE(kv.reserve(T));
  const std::vector<float> x = testing::random_floats(T * 64, 7);
  std::vector<int32_t> positions(T);
  for (size_t t = 0; t < T; ++t) positions[t] = static_cast<int32_t>(t);
  const SequenceRows rows{0, T, 0, kv.pages()};
  const RopeTable table = rope_table(c, 4, {});
  const Tensor got = mla->forward(ctx, from_values(x, {T, 64}),
                                  {{&rows, 1}, rope_angles(ctx, from_ids(positions), table)}, layout.layers[0]);

  Rows in(T);
  for (size_t t = 0; t < T; ++t)
    in[t].assign(x.begin() + static_cast<long>(t * 64), x.begin() + static_cast<long>((t + 1) * 64));
  Rows q_a = product(checkpoint.find("q_a_proj.weight").data, in),
       kv_a = product(checkpoint.find("kv_a_proj_with_mqa.weight").data, in);
  for (auto& row : q_a) norm(row, 24, checkpoint.find("q_a_layernorm.weight").data);
  for (auto& row : kv_a) norm(row, 16, checkpoint.find("kv_a_layernorm.weight").data);
  Rows q = product(checkpoint.find("q_b_proj.weight").data, q_a), c_rows(T), heads_out(T, std::vector<double>(H * 12));
  for (size_t t = 0; t < T; ++t) {
    c_rows[t].assign(kv_a[t].begin(), kv_a[t].begin() + 16);
    rotate(kv_a[t].data() + 16, t, table);
    for (size_t h = 0; h < H; ++h) rotate(q[t].data() + h * qk + 8, t, table);
  }
  const Rows kv_b = product(checkpoint.find("kv_b_proj.weight").data, c_rows);
  for (size_t t = 0; t < T; ++t)
    for (size_t h = 0; h < H; ++h) {
      std::vector<double> p(t + 1);
      double sum = 0;
      for (size_t j = 0; j <= t; ++j) {
        double score = 0;
        for (size_t i = 0; i < 8; ++i) score += q[t][h * qk + i] * kv_b[j][h * joined + i];
        for (size_t i = 0; i < 4; ++i) score += q[t][h * qk + 8 + i] * kv_a[j][16 + i];
        sum += p[j] = std::exp(score / std::sqrt(12.0));
      }
      for (size_t j = 0; j <= t; ++j)
        for (size_t i = 0; i < 12; ++i) heads_out[t][h * 12 + i] += p[j] / sum * kv_b[j][h * joined + 8 + i];
    }
  const Rows want = product(checkpoint.find("o_proj.weight").data, heads_out);
  double worst = 0, largest = 0;
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < 64; ++i) {
      worst = std::max(worst, std::abs(got.data<float>()[t * 64 + i] - want[t][i]));
      largest = std::max(largest, std::abs(want[t][i]));
    }
  EXPECT_LT(worst / largest, 1e-5);
}

}  // namespace
}  // namespace fathom
