#include "formats/model_header_files.h"
#include "formats/safetensors.h"

namespace fathom {

void add_safetensors_header(const std::filesystem::path& path, ModelHeader& out) {
  const InputFile file(path);
  SafetensorsHeader header = read_safetensors_header(file, /*lenient=*/true);
  ModelFile entry{.path = path, .size_bytes = file.size()};
  entry.needed_bytes = header.needed_bytes;
  entry.header_bytes = header.header_bytes;
  entry.tensors = header.ranges.size();
  judge_length(entry);
  for (size_t i = 0; i < header.ranges.size(); ++i) {
    StoredRange& range = header.ranges[i];
    const auto foreign = header.foreign_types.find(i);
    const bool known = foreign == header.foreign_types.end();
    std::string type(known ? *safetensors_name(range.info.dtype) : printable(foreign->second));
    out.tensors.push_back({std::move(range.info), std::move(type), known, out.files.size(), range.offset});
  }
  out.safetensors.merge(header.metadata);
  out.files.push_back(std::move(entry));
}

}  // namespace fathom
