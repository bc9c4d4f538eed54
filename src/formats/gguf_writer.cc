#include "formats/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "base/error.h"

namespace fathom {
namespace {

constexpr uint64_t kAlignment = 32;  // GGUF's default, so that no file of ours needs the key
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr size_t kMaxName = 63;  // ggml's limit

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

template <class T>
std::string scalar(GgufType type, T value) {
  std::string out;
  append(out, static_cast<uint32_t>(type));
  append(out, value);
  return out;
}

uint64_t aligned(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

/// The infos' bytes; fills size_bytes.
std::string describe(const std::string& what, std::vector<TensorInfo>& tensors) {
  std::string out;
  uint64_t offset = 0;
  std::set<std::string_view> names;
  for (TensorInfo& t : tensors) {
    const std::string which = cat(what, ": tensor ", printable(t.name));
    if (info(t.dtype).gguf_id < 0) throw Error(cat(which, ": GGUF has no type ", t.dtype));
    if (t.name.empty() || t.name.size() > kMaxName)
      throw Error(cat(which, ": expected a name of 1 to ", kMaxName, " bytes, found ", t.name.size()));
    if (!names.insert(t.name).second) throw Error(cat(which, ": given twice"));
    t.size_bytes = stored_bytes(which, t.dtype, t.shape);
    append(out, std::string_view(t.name));
    append(out, static_cast<uint32_t>(std::max<size_t>(t.shape.rank(), 1)));
    for (size_t i = t.shape.rank(); i-- > 0;) append(out, static_cast<uint64_t>(t.shape[i]));
    if (t.shape.rank() == 0) append(out, uint64_t{1});
    append(out, static_cast<uint32_t>(info(t.dtype).gguf_id));
    append(out, offset);
    offset += aligned(t.size_bytes);
  }
  return out;
}

}  // namespace

void GgufKeys::set(std::string_view key, std::string_view value) {
  std::string bytes;
  append(bytes, key);
  bytes += value;
  const auto [place, is_new] = places_.try_emplace(std::string(key), entries_.size());
  if (is_new)
    entries_.emplace_back(key, std::move(bytes));
  else
    entries_[place->second].second = std::move(bytes);
}

void GgufKeys::set_u8(std::string_view key, uint8_t value) { set(key, scalar(GgufType::kU8, value)); }
void GgufKeys::set_u16(std::string_view key, uint16_t value) { set(key, scalar(GgufType::kU16, value)); }
void GgufKeys::set_u32(std::string_view key, uint32_t value) { set(key, scalar(GgufType::kU32, value)); }
void GgufKeys::set_i32(std::string_view key, int32_t value) { set(key, scalar(GgufType::kI32, value)); }
void GgufKeys::set_u64(std::string_view key, uint64_t value) { set(key, scalar(GgufType::kU64, value)); }
void GgufKeys::set_f32(std::string_view key, float value) { set(key, scalar(GgufType::kF32, value)); }
void GgufKeys::set_bool(std::string_view key, bool value) {
  set(key, scalar(GgufType::kBool, static_cast<uint8_t>(value)));
}
void GgufKeys::set_string(std::string_view key, std::string_view value) { set(key, scalar(GgufType::kString, value)); }

void GgufKeys::set_strings(std::string_view key, std::span<const std::string> values) {
  std::string out = scalar(GgufType::kArray, static_cast<uint32_t>(GgufType::kString));
  append(out, static_cast<uint64_t>(values.size()));
  for (const std::string& text : values) append(out, std::string_view(text));
  set(key, out);
}

template <class T>
void GgufKeys::set_array(std::string_view key, GgufType element, std::span<const T> values) {
  std::string out = scalar(GgufType::kArray, static_cast<uint32_t>(element));
  append(out, static_cast<uint64_t>(values.size()));
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  set(key, out);
}
void GgufKeys::set_i32s(std::string_view key, std::span<const int32_t> values) {
  set_array(key, GgufType::kI32, values);
}
void GgufKeys::set_u32s(std::string_view key, std::span<const uint32_t> values) {
  set_array(key, GgufType::kU32, values);
}
void GgufKeys::set_f32s(std::string_view key, std::span<const float> values) { set_array(key, GgufType::kF32, values); }

void GgufKeys::copy(const GgufMetadata& metadata) {
  for (const GgufMetadata::Entry& entry : metadata.entries()) {
    if (entry.key == kAlignmentKey) continue;
    std::string value;
    append(value, static_cast<uint32_t>(entry.type));
    if (entry.type == GgufType::kArray) {
      append(value, static_cast<uint32_t>(entry.element));
      append(value, entry.count);
    }
    value += metadata.value_bytes(entry);
    set(entry.key, value);
  }
}

void GgufKeys::remove(std::string_view key) {
  const auto place = places_.find(key);
  if (place == places_.end()) return;
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(place->second));
  for (auto& [name, index] : places_)
    if (index > place->second) --index;
  places_.erase(place);
}

bool GgufKeys::has(std::string_view key) const { return places_.contains(key); }

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufKeys& keys, std::vector<TensorInfo> tensors)
    : file_(path), tensors_(std::move(tensors)) {
  GgufKeys aligned_key;
  aligned_key.set_u32(kAlignmentKey, kAlignment);
  for (size_t i = 0; i < keys.count(); ++i)
    if (keys.key_at(i) == kAlignmentKey && keys.bytes_at(i) != aligned_key.bytes_at(0))
      throw Error(
          cat(path.string(), ": key ", kAlignmentKey, ": expected ", kAlignment, " as u32, found another value"));
  const std::string infos = describe(path.string(), tensors_);
  std::string header = "GGUF";
  append(header, uint32_t{3});
  append(header, static_cast<uint64_t>(tensors_.size()));
  append(header, static_cast<uint64_t>(keys.count()));
  for (size_t i = 0; i < keys.count(); ++i) header += keys.bytes_at(i);
  header += infos;
  header.resize(aligned(header.size()), '\0');
  file_.write(header.data(), header.size());
  at_ = total_ = header.size();
  for (const TensorInfo& t : tensors_) total_ += aligned(t.size_bytes);
  pad();
}

void GgufWriter::write(std::span<const std::byte> data) {
  check(tensor_ < tensors_.size() && data.size() <= tensors_[tensor_].size_bytes - written_,
        "more data than the tensor has");
  file_.write(data.data(), data.size());
  written_ += data.size();
  at_ += data.size();
  pad();
}

/// Ends every tensor that is complete; tensors without values are complete at once.
void GgufWriter::pad() {
  while (tensor_ < tensors_.size() && written_ == tensors_[tensor_].size_bytes) {
    const char zeros[kAlignment] = {};
    file_.write(zeros, aligned(at_) - at_);
    at_ = aligned(at_);
    written_ = 0;
    ++tensor_;
  }
}

void GgufWriter::commit() {
  check(tensor_ == tensors_.size(), "a tensor was not written in full");
  file_.commit();
}

}  // namespace fathom
