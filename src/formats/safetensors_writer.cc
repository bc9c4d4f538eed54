#include <algorithm>
#include <array>
#include <set>

#include "base/json.h"
#include "formats/atomic_file.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

using NamedTensor = std::pair<std::string, Tensor>;

std::vector<const NamedTensor*> widest_first(const std::string& what, const std::vector<NamedTensor>& tensors) {
  std::vector<const NamedTensor*> order;
  std::set<std::string_view> names;
  for (const NamedTensor& t : tensors) {
    if (!names.insert(t.first).second || t.first == "__metadata__")
      throw Error(cat(what, ": tensor ", printable(t.first), " is given twice, or its name is reserved"));
    if (!safetensors_name(t.second.dtype()))
      throw Error(cat(what, ": tensor ", printable(t.first), ": safetensors has no type ", t.second.dtype()));
    order.push_back(&t);
  }
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return info(a->second.dtype()).block_bytes > info(b->second.dtype()).block_bytes;
  });
  return order;
}

json::object describe(const Tensor& t, uint64_t begin) {
  json::array shape;
  for (size_t i = 0; i < t.shape().rank(); ++i) shape.push_back(t.dim(i));
  return {{"dtype", *safetensors_name(t.dtype())},
          {"shape", std::move(shape)},
          {"data_offsets", json::array{begin, begin + t.size_bytes()}}};
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<const NamedTensor*> order = widest_first(path.string(), tensors);
  json::object header;
  if (!metadata.empty()) {
    json::object& entries = header["__metadata__"].emplace_object();
    for (const auto& [key, value] : metadata) entries[key] = value;
  }
  uint64_t end = 0;
  for (const NamedTensor* t : order) {
    header[t->first] = describe(t->second, end);
    end += t->second.size_bytes();
  }
  std::string text = to_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  for (const NamedTensor* t : order) file.write(t->second.bytes(), t->second.size_bytes());
  file.commit();
}

}  // namespace fathom
