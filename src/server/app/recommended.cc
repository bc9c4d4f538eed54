#include "server/app/recommended.h"

#include <algorithm>
#include <array>

#include "engine/memory.h"

namespace fathom {
namespace {

// Sizes as published, some of them rounded to a megabyte: what a pull says and checks comes from the hub.
constexpr std::array<RecommendedModel, 9> kModels = {{
    {"smollm2-135m", "SmolLM2 135M", "bartowski/SmolLM2-135M-Instruct-GGUF", "Q4_K_M", "Apache-2.0",
     "Starts in a moment on any machine; good for trying things out, often wrong about facts.", false, 135e6,
     105'454'432, 49152, 576, 1536, 30, 9, 3, 64, 8192},
    {"smollm2-360m", "SmolLM2 360M", "bartowski/SmolLM2-360M-Instruct-GGUF", "Q4_K_M", "Apache-2.0",
     "Short texts and simple questions in English, quick on old machines.", false, 362e6, 270'590'880, 49152, 960, 2560,
     32, 15, 5, 64, 8192},
    {"qwen2.5-1.5b", "Qwen2.5 1.5B", "Qwen/Qwen2.5-1.5B-Instruct-GGUF", "Q4_K_M", "Apache-2.0",
     "A quick helper in many languages, for summaries, letters and simple code.", false, 1.54e9, 1'117'320'736, 151936,
     1536, 8960, 28, 12, 2, 128, 32768},
    {"r1-qwen-1.5b", "DeepSeek R1 Distill Qwen 1.5B", "bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF", "Q4_K_M", "MIT",
     "The smallest that thinks before it answers: mathematics and step-by-step problems.", true, 1.78e9, 1'117'320'800,
     151936, 1536, 8960, 28, 12, 2, 128, 131072},
    {"qwen2.5-7b", "Qwen2.5 7B", "bartowski/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M", "Apache-2.0",
     "Answers at once, well written, in many languages; good at code and long texts.", false, 7.62e9, 4'683'000'000,
     152064, 3584, 18944, 28, 28, 4, 128, 32768},
    {"r1-qwen-7b", "DeepSeek R1 Distill Qwen 7B", "bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF", "Q4_K_M", "MIT",
     "Thinks before it answers: mathematics, logic and code for a laptop with 16 GB.", true, 7.62e9, 4'683'000'000,
     152064, 3584, 18944, 28, 28, 4, 128, 131072},
    {"r1-llama-8b", "DeepSeek R1 Distill Llama 8B", "bartowski/DeepSeek-R1-Distill-Llama-8B-GGUF", "Q4_K_M",
     "MIT, Llama 3.1 licence", "Thinks before it answers, and writes more fluently than the 7B.", true, 8.03e9,
     4'921'000'000, 128256, 4096, 14336, 32, 32, 8, 128, 131072},
    {"r1-qwen-14b", "DeepSeek R1 Distill Qwen 14B", "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF", "Q4_K_M", "MIT",
     "Careful reasoning and good German; wants 32 GB and patience without a GPU.", true, 14.8e9, 8'988'000'000, 152064,
     5120, 13824, 48, 40, 8, 128, 131072},
    {"r1-qwen-32b", "DeepSeek R1 Distill Qwen 32B", "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF", "Q4_K_M", "MIT",
     "The strongest of the distillations that fit one machine, near o1-mini on mathematics and code.", true, 32.8e9,
     19'851'335'584, 152064, 5120, 27648, 64, 40, 8, 128, 131072},
}};

}  // namespace

uint64_t RecommendedModel::memory_bytes() const {
  ModelConfig config;
  config.vocab_size = vocab_size, config.hidden_size = hidden_size, config.intermediate_size = intermediate_size;
  config.num_hidden_layers = num_hidden_layers, config.num_attention_heads = num_attention_heads;
  config.num_key_value_heads = num_key_value_heads, config.head_dim = head_dim;
  return memory_needs(config, size_bytes, CacheType::kBF16, EngineOptions{}.prefill_chunk).total(4096, 1);
}

std::span<const RecommendedModel> recommended_models() { return kModels; }

json::array recommended_json(const MemoryRoom& room, uint64_t disk_free_bytes) {
  const RecommendedModel* best = nullptr;
  const auto comfortable = static_cast<uint64_t>(0.6 * static_cast<double>(room.all()));
  for (const RecommendedModel& m : kModels)
    if (m.memory_bytes() <= comfortable) best = &m;
  json::array out;
  for (const RecommendedModel& m : kModels) {
    const std::string memory = fits(m.memory_bytes(), room);
    out.push_back(json::object{{"id", m.id},
                               {"name", m.name},
                               {"repository", m.repository},
                               {"file", m.file},
                               {"licence", m.licence},
                               {"good_at", m.good_at},
                               {"thinks", m.thinks},
                               {"parameters", m.parameters},
                               {"size_bytes", m.size_bytes},
                               {"memory_bytes", m.memory_bytes()},
                               {"fits", memory == "no"                   ? "no_memory"
                                        : m.size_bytes > disk_free_bytes ? "no_disk"
                                                                         : memory},
                               {"best", &m == best}});
  }
  return out;
}

}  // namespace fathom
