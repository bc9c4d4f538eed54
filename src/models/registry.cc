// model_type -> architecture. A new architecture is one line here and one file beside this one.
#include <array>

#include "models/builder.h"

namespace fathom {
namespace {

struct Architecture {
  const char* model_type;
  std::unique_ptr<const Model> (*load)(const Checkpoint&, const LoadOptions&);
};
constexpr std::array<Architecture, 6> kArchitectures = {{
    {"llama", load_llama},
    {"qwen2", load_llama},
    {"qwen3", load_llama},
    {"qwen3_moe", load_llama},
    {"deepseek_v2", load_deepseek},
    {"deepseek_v3", load_deepseek},
}};

}  // namespace

std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, const LoadOptions& options) {
  const std::string& wanted = checkpoint.config().model_type;
  std::string known;
  for (const Architecture& a : kArchitectures) {
    if (wanted == a.model_type) return a.load(checkpoint, options);
    known += cat(known.empty() ? "" : ", ", a.model_type);
  }
  throw Error(cat("model_type: expected one of ", known, "; found \"", wanted, "\""));
}

}  // namespace fathom
