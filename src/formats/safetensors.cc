#include "formats/safetensors.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/json.h"
#include "formats/absent_file.h"

namespace fathom {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's own limit

struct NamedType {
  std::string_view name;
  DType type;
};
constexpr std::array<NamedType, 11> kTypes = {{
    {"F64", DType::kF64},
    {"F32", DType::kF32},
    {"F16", DType::kF16},
    {"BF16", DType::kBF16},
    {"F8_E4M3", DType::kF8E4M3},
    {"I64", DType::kI64},
    {"I32", DType::kI32},
    {"I16", DType::kI16},
    {"I8", DType::kI8},
    {"U8", DType::kU8},
    {"BOOL", DType::kBool},
}};

DType type_named(std::string_view what, std::string_view name) {
  for (const NamedType& t : kTypes)
    if (t.name == name) return t.type;
  std::string known;
  for (const NamedType& t : kTypes) known += cat(known.empty() ? "" : ", ", t.name);
  throw Error(cat(what, ": type ", printable(name), " is not supported (", known, " are)"));
}

uint64_t natural(const json::value& value, std::string_view what) {
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<uint64_t>(value.get_int64());
  if (value.is_uint64()) return value.get_uint64();
  throw Error(cat(what, ": expected a whole number, found ", printable(to_json(value))));
}

Shape read_shape(const JsonObject& entry) {
  const json::array& dims = entry.array("shape");
  if (dims.size() > Shape::kMaxRank)
    throw Error(cat(entry.what(), ": expected at most 4 dimensions, found ", dims.size()));
  std::array<size_t, Shape::kMaxRank> shape{};
  for (size_t i = 0; i < dims.size(); ++i) shape[i] = natural(dims[i], cat(entry.what(), ": shape"));
  return Shape(std::span<const size_t>(shape.data(), dims.size()));
}

/// One entry of the header; `data` is where the data begins, `size` the file's size.
StoredRange read_entry(const std::string& name, const JsonObject& entry, uint64_t data, uint64_t size) {
  const std::string& what = entry.what();
  const DType type = type_named(what, entry.string("dtype"));
  const Shape shape = read_shape(entry);
  const uint64_t bytes = stored_bytes(what, type, shape);
  const json::array& offsets = entry.array("data_offsets");
  if (offsets.size() != 2) throw Error(cat(what, ": data_offsets: expected 2 numbers, found ", offsets.size()));
  const uint64_t begin = natural(offsets[0], what), end = natural(offsets[1], what);
  if (end < begin || end - begin != bytes)
    throw Error(
        cat(what, ": ", type, " ", shape, " takes ", bytes, " bytes, but data_offsets say ", begin, " to ", end));
  if (!range_fits(begin, bytes, ~uint64_t{0} - data) || !range_fits(data + begin, bytes, size))
    throw Error(
        cat(what, ": its data ends beyond the file, which has ", size, " bytes: still downloading, or cut off"));
  return {{name, type, shape, bytes}, data + begin};
}

/// Keys of the outermost object of valid JSON: the parser keeps one of two equal keys, so their number tells.
size_t outer_keys(std::string_view text) {
  size_t keys = 0, depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c == ':' && depth == 1) ++keys;
  }
  return keys;
}

/// Every byte of the data belongs to exactly one tensor.
void check_layout(const std::string& what, const std::vector<StoredRange>& ranges, uint64_t data, uint64_t size) {
  std::vector<const StoredRange*> order;
  order.reserve(ranges.size());
  for (const StoredRange& r : ranges) order.push_back(&r);
  refuse_overlaps(what, order);
  uint64_t end = data;
  for (const StoredRange* r : order) {
    if (r->offset != end)
      throw Error(
          cat(what, ": ", r->offset - end, " bytes before tensor ", printable(r->info.name), " belong to no tensor"));
    end += r->info.size_bytes;
  }
  if (end != size) throw Error(cat(what, ": ", size - end, " bytes after the last tensor belong to no tensor"));
}

}  // namespace

std::string read_safetensors_header(const InputFile& file) {
  const std::string what = file.path().string();
  if (file.size() < 8)
    throw Error(
        cat(what, ": expected a safetensors file, found ", file.size(), " bytes: still downloading, or cut off"));
  uint64_t length = 0;
  file.read(0, &length, sizeof length);
  if (length > kMaxHeader) refuse_foreign(file);
  if (length > kMaxHeader)
    throw Error(cat(what, ": expected a safetensors header of at most ", kMaxHeader, " bytes, found ", length,
                    " (not a safetensors file?)"));
  if (!range_fits(8, length, file.size()))
    throw Error(cat(what, ": the header takes ", length, " bytes, the file has ", file.size(),
                    ": still downloading, or cut off"));
  std::string header(length, '\0');
  file.read(8, header.data(), header.size());
  return header;
}

std::optional<std::string_view> safetensors_name(DType type) {
  for (const NamedType& t : kTypes)
    if (t.type == type) return t.name;
  return std::nullopt;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const InputFile file(path);
  const std::string what = path.string(), header = read_safetensors_header(file);
  const uint64_t data = 8 + header.size();
  const json::value root = parse_json(header, cat(what, ": header"));
  const JsonObject object(root, cat(what, ": header"));
  if (outer_keys(header) != object.raw().size()) throw Error(cat(what, ": the header names a tensor twice"));
  for (const auto& [key, value] : object.raw()) {
    const std::string name(key);
    const bool is_metadata = name == "__metadata__";
    const JsonObject entry(value, cat(what, is_metadata ? ": " : ": tensor ", printable(name)));
    if (is_metadata) {
      for (const auto& [k, v] : entry.raw()) metadata_[std::string(k)] = entry.string(k);
      continue;
    }
    index_.emplace(name, ranges_.size());
    ranges_.push_back(read_entry(name, entry, data, file.size()));
  }
  check_layout(what, ranges_, data, file.size());
  mapping_ = std::make_shared<const MappedFile>(file);
}

std::optional<Located> SafetensorsFile::locate(std::string_view name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) return std::nullopt;
  return Located{mapping_, ranges_[it->second]};
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const std::optional<Located> located = locate(name);
  if (!located) throw Error(cat(path_.string(), ": has no tensor ", printable(name)));
  return located->tensor();
}

}  // namespace fathom
