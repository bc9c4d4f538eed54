#include "formats/gguf.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "formats/absent_file.h"
#include "formats/gguf_reader.h"

namespace fathom {
namespace {

constexpr size_t kMaxParts = 99999;  // of the five digits in the name

template <class T>
T load(const std::string& bytes, size_t offset) {
  T value;
  check(offset + sizeof value <= bytes.size(), "a metadata value outside the header");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// Converters store config.json's decimals as f32; their shortest decimal is the number that stood there.
double decimal(float x) {
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof text, x);
  double value = x;
  std::from_chars(text, end.ptr, value);
  return value;
}

}  // namespace

std::optional<GgufSplitName> gguf_split_name(const std::string& name) {
  constexpr std::string_view kTail = "-00001-of-00001.gguf";
  if (name.size() <= kTail.size() || !name.ends_with(".gguf")) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kTail.size());
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-") return std::nullopt;
  const auto digits = [&](size_t at) -> std::optional<uint64_t> {
    uint64_t n = 0;
    const auto [end, error] = std::from_chars(tail.data() + at, tail.data() + at + 5, n);
    return error == std::errc() && end == tail.data() + at + 5 ? std::optional(n) : std::nullopt;
  };
  const std::optional<uint64_t> number = digits(1), count = digits(10);
  if (!number || !count) return std::nullopt;
  return GgufSplitName{name.substr(0, name.size() - kTail.size()), *number, *count};
}

std::filesystem::path gguf_part_path(const std::filesystem::path& folder, const GgufSplitName& name, uint64_t number) {
  char tail[40];
  std::snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", static_cast<int>(number), static_cast<int>(name.count));
  return folder / (name.prefix + tail);
}

const GgufMetadata::Entry* GgufMetadata::find(std::string_view key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

void GgufMetadata::wrong(const Entry& entry, std::string_view expected, std::string_view found) const {
  constexpr std::array<const char*, 13> kNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                  "bool", "string", "array", "u64", "i64", "f64"};
  std::string kind = kNames.at(static_cast<size_t>(entry.element));
  if (entry.type == GgufType::kArray) kind = cat("array of ", entry.count, " ", kind);
  throw Error(cat(what_, ": key ", printable(entry.key), ": expected ", expected, ", found ",
                  found.empty() ? cat("a value of type ", kind) : found));
}

int64_t GgufMetadata::integer_at(const Entry& entry, GgufType type, size_t offset) const {
  switch (type) {
    case GgufType::kU8: return load<uint8_t>(header_, offset);
    case GgufType::kI8: return load<int8_t>(header_, offset);
    case GgufType::kU16: return load<uint16_t>(header_, offset);
    case GgufType::kI16: return load<int16_t>(header_, offset);
    case GgufType::kU32: return load<uint32_t>(header_, offset);
    case GgufType::kI32: return load<int32_t>(header_, offset);
    case GgufType::kI64: return load<int64_t>(header_, offset);
    case GgufType::kU64: {
      const auto value = load<uint64_t>(header_, offset);
      if (value > uint64_t{INT64_MAX}) wrong(entry, "an integer below 2^63", cat(value));
      return static_cast<int64_t>(value);
    }
    default: wrong(entry, "an integer");
  }
}

uint64_t GgufMetadata::count(std::string_view key) const {
  const Entry* entry = find(key);
  return entry ? entry->count : 0;
}

std::vector<int64_t> GgufMetadata::integers(std::string_view key) const {
  const Entry* entry = find(key);
  std::vector<int64_t> out;
  if (!entry) return out;
  if (entry->count == 0) return out;
  const size_t stride = entry->size / entry->count;
  if (entry->element == GgufType::kString) wrong(*entry, "integers");
  out.reserve(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i)
    out.push_back(integer_at(*entry, entry->element, entry->offset + i * stride));
  return out;
}

std::optional<uint64_t> GgufMetadata::integer(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->count == 0 || entry->element == GgufType::kString) wrong(*entry, "an integer");
  const size_t stride = entry->size / entry->count;
  const int64_t value = integer_at(*entry, entry->element, entry->offset);
  for (uint64_t i = 1; i < entry->count; ++i)
    if (const int64_t other = integer_at(*entry, entry->element, entry->offset + i * stride); other != value)
      wrong(*entry, "one integer for all layers", cat(value, " and ", other));
  if (value < 0) wrong(*entry, "an integer that is not negative", cat(value));
  return static_cast<uint64_t>(value);
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type == GgufType::kF32) return decimal(load<float>(header_, entry->offset));
  if (entry->type == GgufType::kF64) return load<double>(header_, entry->offset);
  if (entry->type == GgufType::kArray) wrong(*entry, "a number");
  return static_cast<double>(integer_at(*entry, entry->type, entry->offset));
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  const uint8_t value = entry->type == GgufType::kBool ? load<uint8_t>(header_, entry->offset) : 2;
  if (value > 1) wrong(*entry, "true or false", entry->type == GgufType::kBool ? cat(int{value}) : std::string());
  return value == 1;
}

std::optional<std::string> GgufMetadata::string(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type != GgufType::kString) wrong(*entry, "a string");
  return header_.substr(entry->offset + 8, entry->size - 8);
}

std::vector<std::string> GgufMetadata::strings(std::string_view key) const {
  std::vector<std::string> out;
  const Entry* entry = find(key);
  if (!entry) return out;
  if (entry->type != GgufType::kArray || entry->element != GgufType::kString) wrong(*entry, "an array of strings");
  out.reserve(entry->count);
  size_t at = entry->offset;
  for (uint64_t i = 0; i < entry->count; ++i) {
    const auto length = load<uint64_t>(header_, at);
    out.push_back(header_.substr(at + 8, length));
    at += 8 + length;
  }
  return out;
}

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path) {
  const std::optional<GgufSplitName> name = gguf_split_name(path.filename().string());
  if (name && name->number != 1) path_ = gguf_part_path(path.parent_path(), *name, 1);
  if (path_ != path) require_present(path_, "the first part of this split model");
  add_part(path_, 0);
  if (metadata_.integer("split.count").value_or(0) > 1) add_siblings(path_);
}

void GgufFile::add_part(const std::filesystem::path& path, size_t number) {
  const InputFile file(path);
  GgufHeader header = GgufReader(file).read();
  if (number == 0) {
    metadata_ = std::move(header.metadata);
    version_ = header.version;
  }
  const GgufMetadata& metadata = number == 0 ? metadata_ : header.metadata;
  const uint64_t found = metadata.integer("split.no").value_or(0);
  if (found != number) throw Error(cat(path.string(), ": split.no: expected ", number, ", found ", found));
  const uint64_t count = metadata.integer("split.count").value_or(0),
                 want = metadata_.integer("split.count").value_or(0);
  if (count != want) throw Error(cat(path.string(), ": split.count: expected ", want, " as in part 1, found ", count));
  const auto mapping = std::make_shared<const MappedFile>(file);
  for (StoredRange& range : header.ranges) {
    if (!index_.emplace(range.info.name, tensors_.size()).second)
      throw Error(cat(path.string(), ": tensor ", printable(range.info.name), " is in an earlier part too"));
    tensors_.push_back(range.info);
    places_.push_back({mapping, std::move(range)});
  }
  parts_.push_back(mapping);
}

void GgufFile::add_siblings(const std::filesystem::path& first) {
  const uint64_t count = *metadata_.integer("split.count");
  const std::optional<GgufSplitName> name = gguf_split_name(first.filename().string());
  if (!name || name->count != count || count > kMaxParts)
    throw Error(cat(first.string(), ": split.count is ", count, ", so expected a name that ends in -00001-of-", count,
                    " with five digits each"));
  for (uint64_t number = 1; number < count; ++number) {
    const std::filesystem::path part = gguf_part_path(first.parent_path(), *name, number + 1);
    require_present(part, cat("part ", number + 1, " of ", count));
    add_part(part, number);
  }
  const std::optional<uint64_t> total = metadata_.integer("split.tensors.count");
  if (total && *total != tensors_.size())
    throw Error(cat(first.string(), ": split.tensors.count: expected ", *total, " tensors in all parts, found ",
                    tensors_.size()));
}

const Shape* GgufFile::shape(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second].shape;
}

std::optional<Located> GgufFile::locate(std::string_view name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) return std::nullopt;
  return places_[it->second];
}

Tensor GgufFile::tensor(std::string_view name) const {
  const std::optional<Located> located = locate(name);
  if (!located) throw Error(cat(path_.string(), ": has no tensor ", printable(name)));
  return located->tensor();
}

}  // namespace fathom
