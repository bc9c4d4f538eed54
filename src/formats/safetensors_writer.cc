#include "formats/safetensors_writer.h"

#include <algorithm>
#include <unordered_set>

#include "base/checked.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

void refuse_unwritable(const std::string& what, const std::vector<TensorInfo>& tensors) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& t : tensors) {
    if (!names.insert(t.name).second || t.name == "__metadata__")
      throw Error(cat(what, ": tensor ", printable(t.name), " is given twice, or its name is reserved"));
    if (!safetensors_name(t.dtype))
      throw Error(cat(what, ": tensor ", printable(t.name), ": safetensors has no type ", t.dtype));
  }
}

json::object describe(const TensorInfo& t, uint64_t begin, uint64_t end) {
  json::array shape;
  for (size_t i = 0; i < t.shape.rank(); ++i) shape.push_back(t.shape[i]);
  return {
      {"dtype", *safetensors_name(t.dtype)}, {"shape", std::move(shape)}, {"data_offsets", json::array{begin, end}}};
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  refuse_unwritable(path.string(), tensors);
  json::object header;
  if (!metadata.empty()) {
    json::object& entries = header["__metadata__"].emplace_object();
    for (const auto& [key, value] : metadata) entries[key] = value;
  }
  uint64_t end = 0;
  for (TensorInfo& t : tensors) {
    t.size_bytes = stored_bytes(cat(path.string(), ": tensor ", printable(t.name)), t.dtype, t.shape);
    const std::optional<uint64_t> next = checked_add(end, t.size_bytes);
    if (!next) throw Error(cat(path.string(), ": the tensors are too large for one file"));
    header[t.name] = describe(t, end, *next);
    end = *next;
  }
  std::string text = to_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  const uint64_t length = text.size();
  file_.write(&length, sizeof length);
  file_.write(text.data(), text.size());
  written_ = sizeof length + length;
  total_ = written_ + end;
}

void SafetensorsWriter::write(std::span<const std::byte> data) {
  check(data.size() <= total_ - written_, "more data than the tensors announced");
  file_.write(data.data(), data.size());
  written_ += data.size();
}

void SafetensorsWriter::commit() {
  check(written_ == total_, "a tensor is not written in full");
  file_.commit();
}

void write_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  order.reserve(tensors.size());
  for (const auto& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return info(a->second.dtype()).block_bytes > info(b->second.dtype()).block_bytes;
  });
  std::vector<TensorInfo> infos;
  infos.reserve(order.size());
  for (const auto* t : order) infos.push_back({t->first, t->second.dtype(), t->second.shape(), 0});
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const auto* t : order) writer.write({t->second.bytes(), t->second.size_bytes()});
  writer.commit();
}

}  // namespace fathom
