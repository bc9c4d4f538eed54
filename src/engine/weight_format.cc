#include "engine/weight_format.h"

#include <algorithm>
#include <map>

#include "formats/model_header.h"
#include "quant/mixture.h"

namespace fathom {

std::string weight_format(const std::filesystem::path& path) {
  const ModelHeader header = read_model_header(path);
  if (header.gguf)
    if (const std::optional<uint64_t> type = header.gguf->integer("general.file_type"))
      for (const Mixture& mixture : mixtures())
        if (static_cast<uint64_t>(mixture.file_type) == *type) return mixture.name;
  std::map<std::string, uint64_t> bytes;
  for (const HeaderTensor& tensor : header.tensors) bytes[tensor.type] += tensor.info.size_bytes;
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? header.format : most->first;
}

}  // namespace fathom
