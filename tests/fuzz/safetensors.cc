#include "formats/safetensors.h"

#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"

namespace fathom::fuzz {
namespace {

/// Written and read again, the file says the same.
void write_and_read(const SafetensorsFile& file) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const StoredRange& range : file.ranges()) tensors.emplace_back(range.info.name, file.tensor(range.info.name));
  const std::filesystem::path path = scratch_folder() / "written.safetensors";
  write_safetensors(path, tensors, file.metadata());
  const SafetensorsFile again(path);
  check(again.metadata() == file.metadata(), "writing changed the metadata");
  check(again.ranges().size() == tensors.size(), "writing changed the number of tensors");
  for (const auto& [name, tensor] : tensors) check(same(tensor, again.tensor(name)), "writing changed a tensor");
}

}  // namespace

void safetensors(std::string_view input) {
  try {
    const SafetensorsFile file(file_with(input));
    for (const StoredRange& range : file.ranges()) {
      check(range.offset <= input.size() && range.info.size_bytes <= input.size() - range.offset,
            "a tensor reaches beyond the file");
      dequantize_small(file.tensor(range.info.name));
    }
    write_and_read(file);
  } catch (const Error&) {
  }
}

}  // namespace fathom::fuzz
