#include "tests/hostile/make_model.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "tests/testing.h"
#include "text/utf8.h"

namespace fathom::testing {
namespace {

constexpr uint64_t kWidth = 32, kKeyWidth = 16;  // 2 heads of 16, 1 of keys and values

/// Name without "blk.0." and rows; all matrices are kWidth wide.
struct Matrix {
  const char *gguf, *hf;
  uint64_t rows;
};
constexpr Matrix kMatrices[] = {{"attn_q", "self_attn.q_proj", kWidth},    {"attn_k", "self_attn.k_proj", kKeyWidth},
                                {"attn_v", "self_attn.v_proj", kKeyWidth}, {"attn_output", "self_attn.o_proj", kWidth},
                                {"ffn_gate", "mlp.gate_proj", kWidth},     {"ffn_up", "mlp.up_proj", kWidth},
                                {"ffn_down", "mlp.down_proj", kWidth}};
constexpr std::pair<const char*, const char*> kNorms[] = {
    {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
    {"blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"},
    {"output_norm.weight", "model.norm.weight"}};

std::string q8_0(uint64_t rows, uint16_t scale, uint64_t seed) {
  std::string out;
  const std::vector<uint8_t> values = random_bytes(rows * kWidth, seed);
  for (uint64_t r = 0; r < rows; ++r) {
    out += GgufBuilder::raw(scale);
    out.append(reinterpret_cast<const char*>(values.data()) + r * kWidth, kWidth);
  }
  return out;
}

std::string ones(size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += GgufBuilder::raw(1.0f);
  return out;
}

}  // namespace

std::vector<std::string> byte_letters() {
  std::vector<std::string> out;
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    append_utf8(out.emplace_back(), prints ? b : next++);
  }
  return out;
}

std::vector<std::string> TinyGguf::tokens() {
  std::vector<std::string> out = byte_letters();
  out.insert(out.end(), {"ab", "<s>", "</s>"});
  return out;
}

GgufBuilder TinyGguf::builder() const {
  GgufBuilder b;
  const auto key = [&](std::string name, const auto& value) {
    if (name.starts_with("A.")) name = architecture + name.substr(1);
    if (std::find(without.begin(), without.end(), name) == without.end()) b.key(name, value);
  };
  const std::vector<std::string> all = tokens();
  const auto n = static_cast<uint32_t>(all.size());
  std::vector<int32_t> types(all.size(), 1);
  types[n - 1] = types[n - 2] = 3;
  key("general.architecture", architecture);
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, uint32_t>>{{"A.block_count", 1},
                                                               {"A.context_length", 64},
                                                               {"A.embedding_length", 32},
                                                               {"A.feed_forward_length", 32},
                                                               {"A.attention.head_count", 2},
                                                               {"A.attention.head_count_kv", 1},
                                                               {"A.vocab_size", n}})
    key(name, value);
  key("A.attention.layer_norm_rms_epsilon", 1e-5f), key("A.rope.freq_base", 10000.0f);
  key("tokenizer.ggml.model", "gpt2"), key("tokenizer.ggml.pre", "gpt-2");
  key("tokenizer.ggml.tokens", all), key("tokenizer.ggml.token_type", types);
  key("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  key("tokenizer.ggml.bos_token_id", n - 2), key("tokenizer.ggml.eos_token_id", n - 1);
  if (!chat_template.empty()) key("tokenizer.chat_template", std::string_view(chat_template));
  b.tensor("token_embd.weight", {kWidth, n}, 8, q8_0(n, scale, 1));
  for (const Matrix& m : kMatrices)
    b.tensor(cat("blk.0.", m.gguf, ".weight"), {kWidth, m.rows}, 8, q8_0(m.rows, scale, m.rows));
  for (const auto& [gguf, hf] : kNorms) b.tensor(gguf, {kWidth}, 0, ones(kWidth));
  return b;
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  return cat(GgufBuilder::raw<uint64_t>(header.size()), header, data);
}

std::string tiny_tokenizer_json() {
  json::object vocab;
  const std::vector<std::string> tokens = TinyGguf::tokens();
  for (size_t i = 0; i + 2 < tokens.size(); ++i) vocab[tokens[i]] = i;
  json::array added;
  for (size_t i = tokens.size() - 2; i < tokens.size(); ++i)
    added.push_back(json::object{{"id", i}, {"content", tokens[i]}, {"special", true}});
  const json::object byte_level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const json::object root{{"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"decoder", json::object{{"type", "ByteLevel"}}},
                          {"post_processor", nullptr},
                          {"model", json::object{{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array{"a b"}}}}};
  return to_json(root);
}

Files tiny_folder() {
  const size_t n = TinyGguf::tokens().size();
  json::object header;
  std::string data;
  const auto add = [&](const std::string& name, const json::array& shape, size_t values) {
    const std::vector<uint8_t> noise = random_bytes(values, data.size());
    const size_t begin = data.size();
    for (uint8_t x : noise) data += {static_cast<char>(x), static_cast<char>(0x3C | (x & 1) << 7)};  // bf16 near 0.01
    header[name] = json::object{{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", json::array{begin, data.size()}}};
  };
  add("model.embed_tokens.weight", {n, kWidth}, n * kWidth);
  for (const Matrix& m : kMatrices) add(cat("model.layers.0.", m.hf, ".weight"), {m.rows, kWidth}, m.rows * kWidth);
  for (const auto& [gguf, hf] : kNorms) add(hf, {kWidth}, kWidth);
  return {
      {"config.json",
       cat(R"({"model_type":"llama","vocab_size":)", n,
           R"(,"hidden_size":32,"intermediate_size":32,"num_hidden_layers":1,"num_attention_heads":2,)"
           R"("num_key_value_heads":1,"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,)"
           R"("tie_word_embeddings":true,"bos_token_id":257,"eos_token_id":258})")},
      {"generation_config.json", R"({"eos_token_id":[258],"temperature":0.6,"top_p":0.95,"do_sample":true})"},
      {"tokenizer.json", tiny_tokenizer_json()},
      {"tokenizer_config.json",
       R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"chat_template":"{% for m in messages %}{{ m.content }}{% endfor %}"})"},
      {"model.safetensors", safetensors_bytes(to_json(header), data)}};
}

void put(const fs::path& path, std::string_view bytes) {
  std::error_code ignored;
  fs::remove(path, ignored);
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  check(out.good(), "a test could not write a file");
}

void write_files(const fs::path& folder, const Files& files) {
  for (const auto& [name, bytes] : files) put(folder / name, bytes);
}

std::vector<std::string> names_of_one_hash(size_t n) {
  constexpr uint64_t kMul = 0xC6A4A7935BD1E995u, kSeed = 0xC70F6907u;
  uint64_t inverse = kMul;  // of kMul modulo 2^64, by Newton's iteration
  for (int i = 0; i < 6; ++i) inverse *= 2 - kMul * inverse;
  const auto shift = [](uint64_t x) { return x ^ x >> 47; };  // its own inverse
  const auto mixed = [&](uint64_t block) { return shift(block * kMul) * kMul; };
  const auto unmixed = [&](uint64_t x) { return shift(x * inverse) * inverse; };
  constexpr uint64_t kTarget = 42;
  std::vector<std::string> out;
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t first = i * 0x0001000100010001u + 0x4141414141414141u;
    const uint64_t state = ((kSeed ^ 16 * kMul) ^ mixed(first)) * kMul;
    std::string& name = out.emplace_back(GgufBuilder::raw(first));
    name += GgufBuilder::raw(unmixed(state ^ kTarget));
  }
  return out;
}

}  // namespace fathom::testing
