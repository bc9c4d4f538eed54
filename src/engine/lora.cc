#include "engine/lora.h"

#include "engine/engine.h"
#include "engine/identity.h"

namespace fathom {

LoadedAdapter load_adapter(const Engine& engine, const std::filesystem::path& folder, double scale) {
  const EngineInfo& info = engine.info();
  if (!info.adapter.empty())
    throw Error(cat(folder.string(), ": expected a model without an adapter, found one with ", info.adapter));
  PeftAdapter adapter = read_peft_adapter(folder);
  adapter.lora_alpha *= scale;
  auto weights = std::make_shared<const Adapter>(make_adapter(adapter, engine.model()));
  std::string id = numerics_id(info.weights_id, info.profile, info.cache_type, adapter_id(adapter));
  return {std::make_shared<const SequenceAdapter>(std::move(weights), std::move(id)),
          describe_adapter(folder, adapter)};
}

std::string describe_adapter(const std::filesystem::path& folder, const PeftAdapter& adapter) {
  const size_t n = adapter.matrices.size();
  return cat(folder.lexically_normal().filename().string(), " (r ", adapter.r, ", ", n,
             n == 1 ? " matrix)" : " matrices)");
}

}  // namespace fathom
