#include "formats/gguf_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "formats/absent_file.h"

namespace fathom {
namespace {

// The largest published headers take 20 MB (280,000 merges); metadata has some 50 keys, a model some 1,500 tensors
// (30,000 where experts are not stacked).
constexpr uint64_t kMaxHeader = uint64_t{256} << 20;
constexpr uint64_t kMaxKeys = 1 << 16, kMaxTensors = 1 << 20;
constexpr uint64_t kMaxKeyBytes = 65535, kMaxNameBytes = 255, kMaxAlignment = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;
constexpr size_t kStep = size_t{1} << 20;

/// Bytes of one value; 0 for strings and arrays, nullopt for an unknown id.
std::optional<size_t> value_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return std::nullopt;
}

/// What a tensor type that we do not read is called.
std::string type_name(uint32_t id) {
  switch (id) {
    case 4:
    case 5:
    case 31:
    case 32:
    case 33:
    case 36:
    case 37:
    case 38: return "a type that GGUF has removed";
    case 9: return "Q8_1, a type of activations";
    case 15: return "Q8_K, a type of activations";
    case 34: return "TQ1_0";
    case 35: return "TQ2_0";
    case 40: return "NVFP4";
    case 41: return "Q1_0";
    case 42: return "Q2_0";
    default: return "unknown, perhaps a private type of another program";
  }
}

}  // namespace

void GgufReader::need(uint64_t size) {
  if (!range_fits(at_, size, file_.size()))
    throw Error(
        cat(what_, ": the header goes on beyond the file's ", file_.size(), " bytes: still downloading, or cut off"));
  if (!range_fits(at_, size, kMaxHeader))
    throw Error(cat(what_, ": expected a GGUF header of at most ", kMaxHeader, " bytes, found more"));
  const size_t end = at_ + size, have = buffer_.size();
  if (end <= have) return;
  buffer_.resize(std::min<uint64_t>(std::max(end, have + kStep), file_.size()));
  file_.read(have, buffer_.data() + have, buffer_.size() - have);
}

template <class T>
T GgufReader::take() {
  need(sizeof(T));
  T value;
  std::memcpy(&value, buffer_.data() + at_, sizeof value);
  at_ += sizeof value;
  return value;
}

std::string GgufReader::take_string(uint64_t longest, std::string_view name_of) {
  const auto length = take<uint64_t>();
  if (length == 0 || length > longest)
    throw Error(cat(what_, ": expected a ", name_of, " of 1 to ", longest, " bytes, found ", length));
  need(length);
  std::string text = buffer_.substr(at_, length);
  at_ += length;
  return text;
}

void GgufReader::skip_value(GgufType type, uint64_t count) {
  const size_t bytes = *value_bytes(type);
  // An element takes at least a byte of the file, so a count beyond its size stops here and not in the loop.
  const std::optional<uint64_t> total = checked_mul<uint64_t>(count, bytes ? bytes : sizeof(uint64_t));
  need(total.value_or(~uint64_t{0}));
  if (bytes) {
    at_ += *total;
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const auto length = take<uint64_t>();
    need(length);
    at_ += length;
  }
}

GgufMetadata::Entry GgufReader::take_entry() {
  GgufMetadata::Entry entry;
  entry.key = take_string(kMaxKeyBytes, "metadata key");
  const auto type = take<uint32_t>();
  entry.type = static_cast<GgufType>(type);
  if (!value_bytes(entry.type))
    throw Error(cat(what_, ": key ", printable(entry.key), ": expected a value type from 0 to 12, found ", type));
  if (entry.type == GgufType::kArray) {
    const auto element = take<uint32_t>();
    entry.element = static_cast<GgufType>(element);
    if (!value_bytes(entry.element) || entry.element == GgufType::kArray)
      throw Error(cat(what_, ": key ", printable(entry.key),
                      ": expected an array of numbers or strings, found element type ", element));
    entry.count = take<uint64_t>();
  } else {
    entry.element = entry.type;
  }
  entry.offset = at_;
  skip_value(entry.element, entry.count);
  entry.size = at_ - entry.offset;
  return entry;
}

void GgufReader::read_metadata(uint64_t count) {
  constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 1;
  if (count > kMaxKeys || count > file_.size() / kSmallestEntry)
    throw Error(cat(what_, ": a file of ", file_.size(), " bytes cannot have ", count, " metadata keys (at most ",
                    kMaxKeys, "): is it still downloading, or cut off?"));
  GgufMetadata& metadata = header_.metadata;
  for (uint64_t i = 0; i < count; ++i) {
    GgufMetadata::Entry entry = take_entry();
    if (!metadata.index_.emplace(entry.key, i).second)
      throw Error(cat(what_, ": metadata key ", printable(entry.key), " is there twice"));
    metadata.entries_.push_back(std::move(entry));
  }
}

StoredRange GgufReader::take_tensor() {
  StoredRange range;
  range.info.name = take_string(kMaxNameBytes, "tensor name");
  const std::string what = cat(what_, ": tensor ", printable(range.info.name));
  const auto n_dims = take<uint32_t>();
  if (n_dims < 1 || n_dims > Shape::kMaxRank) throw Error(cat(what, ": expected 1 to 4 dimensions, found ", n_dims));
  std::array<size_t, Shape::kMaxRank> dims{};
  for (size_t i = n_dims; i-- > 0;) {  // the file has the innermost first
    dims[i] = take<uint64_t>();
    if (dims[i] == 0) throw Error(cat(what, ": expected positive dimensions, found 0"));
  }
  range.info.shape = Shape(std::span<const size_t>(dims.data(), n_dims));
  const auto type = take<uint32_t>();
  const std::optional<DType> dtype = dtype_from_gguf(type);
  if (!dtype && !lenient_) throw Error(cat(what, ": tensor type ", type, " is not supported (", type_name(type), ")"));
  // An unknown type's shape is checked as if it had bytes, so that it can be counted.
  range.info.dtype = dtype.value_or(DType::kU8);
  range.info.size_bytes = stored_bytes(what, range.info.dtype, range.info.shape);
  if (!dtype) header_.foreign_types.emplace(header_.ranges.size(), type), range.info.size_bytes = 0;
  range.offset = take<uint64_t>();
  return range;
}

void GgufReader::read_tensors(uint64_t count) {
  constexpr uint64_t kSmallestInfo = 8 + 1 + 4 + 8 + 4 + 8;
  if (count > kMaxTensors || count > file_.size() / kSmallestInfo)
    throw Error(
        cat(what_, ": a file of ", file_.size(), " bytes cannot have ", count, " tensors (at most ", kMaxTensors, ")"));
  std::set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    header_.ranges.push_back(take_tensor());
    if (!names.insert(header_.ranges.back().info.name).second)
      throw Error(cat(what_, ": tensor ", printable(header_.ranges.back().info.name), " is there twice"));
  }
}

/// Offsets from the beginning of the data become offsets from the beginning of the file.
void GgufReader::place_tensors() {
  const uint64_t alignment = header_.metadata.integer("general.alignment").value_or(kDefaultAlignment);
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kMaxAlignment)
    throw Error(
        cat(what_, ": general.alignment: expected a power of two up to ", kMaxAlignment, ", found ", alignment));
  const uint64_t data = *checked_align<uint64_t>(at_, alignment);
  header_.header_bytes = header_.needed_bytes = at_;
  std::vector<const StoredRange*> order;
  for (StoredRange& range : header_.ranges) {
    const std::string what = cat(what_, ": tensor ", printable(range.info.name));
    if (range.offset % alignment != 0)
      throw Error(cat(what, ": expected an offset that is a multiple of ", alignment, ", found ", range.offset));
    const std::optional<uint64_t> begin = checked_add<uint64_t>(range.offset, data);
    const std::optional<uint64_t> end = begin ? checked_add<uint64_t>(*begin, range.info.size_bytes) : std::nullopt;
    if (!end || (!lenient_ && *end > file_.size()))
      throw Error(cat(what, ": its ", range.info.size_bytes, " bytes at ", range.offset, " end beyond the file's ",
                      file_.size(), " bytes: still downloading, or cut off"));
    range.offset = *begin;
    header_.needed_bytes = std::max(header_.needed_bytes, *end);
    order.push_back(&range);
  }
  refuse_overlaps(what_, order);
}

GgufHeader GgufReader::read() {
  header_.metadata.what_ = what_;
  if (file_.size() < 4) throw Error(cat(what_, ": expected a GGUF file, found ", file_.size(), " bytes"));
  const auto magic = take<uint32_t>();
  if (magic != 0x46554747) refuse_foreign(file_);
  if (magic != 0x46554747)
    throw Error(cat(what_, ": expected a GGUF file (it begins with \"GGUF\"), found other bytes"));
  header_.version = take<uint32_t>();
  if (header_.version == 0x02000000 || header_.version == 0x03000000)
    throw Error(cat(what_, ": a big-endian GGUF file; expected a little-endian one"));
  if (header_.version != 2 && header_.version != 3)
    throw Error(cat(what_, ": expected GGUF version 2 or 3, found ", header_.version));
  const auto tensor_count = take<uint64_t>();
  const auto key_count = take<uint64_t>();
  read_metadata(key_count);
  read_tensors(tensor_count);
  header_.metadata.header_ = std::move(buffer_);
  place_tensors();
  return std::move(header_);
}

}  // namespace fathom
