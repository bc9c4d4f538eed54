#include <array>

#include "base/checked.h"
#include "base/json.h"
#include "formats/model_header_files.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 62;

std::optional<DType> known_type(std::string_view name) {
  for (size_t i = 0; i < kDTypeCount; ++i)
    if (safetensors_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  return std::nullopt;
}

uint64_t natural(const json::value& value, std::string_view what) {
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<uint64_t>(value.get_int64());
  if (value.is_uint64()) return value.get_uint64();
  throw Error(cat(what, ": expected a whole number, found ", printable(to_json(value))));
}

Shape read_shape(const JsonObject& entry) {
  const json::array& dims = entry.array("shape");
  if (dims.size() > Shape::kMaxRank)
    throw Error(cat(entry.what(), ": expected at most ", Shape::kMaxRank, " dimensions, found ", dims.size()));
  std::array<size_t, Shape::kMaxRank> shape{};
  for (size_t i = 0; i < dims.size(); ++i) shape[i] = natural(dims[i], cat(entry.what(), ": shape"));
  return Shape(std::span<const size_t>(shape.data(), dims.size()));
}

/// `data`: where the data begins in the file. Types without a reader are taken by their offsets.
HeaderTensor read_entry(std::string name, const JsonObject& entry, uint64_t data) {
  const std::string& what = entry.what();
  HeaderTensor t;
  t.type = entry.string("dtype");
  const std::optional<DType> dtype = known_type(t.type);
  t.type_known = dtype.has_value();
  t.type = printable(t.type);
  t.info = {std::move(name), dtype.value_or(DType::kU8), read_shape(entry), 0};
  const json::array& offsets = entry.array("data_offsets");
  if (offsets.size() != 2) throw Error(cat(what, ": data_offsets: expected 2 numbers, found ", offsets.size()));
  const uint64_t begin = natural(offsets[0], what), end = natural(offsets[1], what);
  const uint64_t bytes = stored_bytes(what, t.info.dtype, t.info.shape);
  if (end < begin || end > kMostBytes || (dtype && end - begin != bytes))
    throw Error(cat(what, ": ", t.type, " ", t.info.shape, " takes ", bytes, " bytes, but data_offsets say ", begin,
                    " to ", end));
  t.info.size_bytes = end - begin;
  t.offset = data + begin;
  return t;
}

}  // namespace

void add_safetensors_header(const std::filesystem::path& path, ModelHeader& out) {
  const InputFile file(path);
  const std::string what = path.string(), header = read_safetensors_header(file);
  const json::value root = parse_json(header, cat(what, ": header"));
  const JsonObject object(root, cat(what, ": header"));
  ModelFile entry{.path = path, .size_bytes = file.size()};
  entry.header_bytes = entry.needed_bytes = 8 + header.size();
  for (const auto& [key, value] : object.raw()) {
    const JsonObject described(value, cat(what, ": tensor ", printable(key)));
    if (key == "__metadata__") {
      for (const auto& [k, v] : described.raw()) out.safetensors[std::string(k)] = described.string(k);
      continue;
    }
    HeaderTensor t = read_entry(std::string(key), described, entry.header_bytes);
    t.file = out.files.size();
    entry.needed_bytes = std::max(entry.needed_bytes, t.offset + t.info.size_bytes);
    ++entry.tensors;
    out.tensors.push_back(std::move(t));
  }
  judge_length(entry);
  out.files.push_back(std::move(entry));
}

}  // namespace fathom
