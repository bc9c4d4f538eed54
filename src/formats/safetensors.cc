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

std::optional<DType> type_named(std::string_view name) {
  for (const NamedType& t : kTypes)
    if (t.name == name) return t.type;
  return std::nullopt;
}

[[noreturn]] void refuse_type(std::string_view what, std::string_view name) {
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

/// Where an entry's data lies, relative to the data's beginning.
struct Span {
  uint64_t begin, end;
};
Span read_offsets(const JsonObject& entry) {
  const json::array& offsets = entry.array("data_offsets");
  if (offsets.size() != 2) throw Error(cat(entry.what(), ": data_offsets: expected 2 numbers, found ", offsets.size()));
  return {natural(offsets[0], entry.what()), natural(offsets[1], entry.what())};
}

/// Adds one entry of the header. Without `lenient`, its data must end within the file's `size`.
void add_entry(const std::string& name, const JsonObject& entry, uint64_t size, bool lenient, SafetensorsHeader& out) {
  const std::string &what = entry.what(), type_name = entry.string("dtype");
  const std::optional<DType> type = type_named(type_name);
  if (!type && !lenient) refuse_type(what, type_name);
  const Shape shape = read_shape(entry);
  uint64_t bytes = stored_bytes(what, type.value_or(DType::kU8), shape);
  const Span span = read_offsets(entry);
  if (span.end < span.begin || (type && span.end - span.begin != bytes))
    throw Error(cat(what, ": ", printable(type_name), " ", shape, " takes ", bytes, " bytes, but data_offsets say ",
                    span.begin, " to ", span.end));
  bytes = span.end - span.begin;
  const uint64_t data = out.header_bytes;
  if (!range_fits(span.begin, bytes, (uint64_t{1} << 62) - data) ||
      (!lenient && !range_fits(data + span.begin, bytes, size)))
    throw Error(
        cat(what, ": its data ends beyond the file, which has ", size, " bytes: still downloading, or cut off"));
  if (!type) out.foreign_types[out.ranges.size()] = type_name;
  out.ranges.push_back({{name, type.value_or(DType::kU8), shape, bytes}, data + span.begin});
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

/// Every byte of the data belongs to exactly one tensor. Returns where the last one ends.
uint64_t check_layout(const std::string& what, const SafetensorsHeader& header, uint64_t size) {
  std::vector<const StoredRange*> order;
  order.reserve(header.ranges.size());
  for (const StoredRange& r : header.ranges) order.push_back(&r);
  refuse_overlaps(what, order);
  uint64_t end = header.header_bytes;
  for (const StoredRange* r : order) {
    if (r->offset != end)
      throw Error(
          cat(what, ": ", r->offset - end, " bytes before tensor ", printable(r->info.name), " belong to no tensor"));
    end += r->info.size_bytes;
  }
  if (end < size) throw Error(cat(what, ": ", size - end, " bytes after the last tensor belong to no tensor"));
  return end;
}

/// The JSON text, its length checked against the file.
std::string read_header_text(const InputFile& file) {
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

}  // namespace

SafetensorsHeader read_safetensors_header(const InputFile& file, bool lenient) {
  const std::string what = file.path().string(), text = read_header_text(file);
  SafetensorsHeader out;
  out.header_bytes = 8 + text.size();
  const json::value root = parse_json(text, cat(what, ": header"));
  const JsonObject object(root, cat(what, ": header"));
  if (outer_keys(text) != object.raw().size()) throw Error(cat(what, ": the header names a tensor twice"));
  for (const auto& [key, value] : object.raw()) {
    const std::string name(key);
    const bool is_metadata = name == "__metadata__";
    const JsonObject entry(value, cat(what, is_metadata ? ": " : ": tensor ", printable(name)));
    if (!is_metadata) {
      add_entry(name, entry, file.size(), lenient, out);
      continue;
    }
    for (const auto& [k, v] : entry.raw()) out.metadata[std::string(k)] = entry.string(k);
  }
  out.needed_bytes = check_layout(what, out, file.size());
  return out;
}

std::optional<std::string_view> safetensors_name(DType type) {
  for (const NamedType& t : kTypes)
    if (t.type == type) return t.name;
  return std::nullopt;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const InputFile file(path);
  SafetensorsHeader header = read_safetensors_header(file);
  ranges_ = std::move(header.ranges);
  metadata_ = std::move(header.metadata);
  for (size_t i = 0; i < ranges_.size(); ++i) index_.emplace(ranges_[i].info.name, i);
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
