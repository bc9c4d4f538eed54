// Builds small GGUF files in memory for tests, right ones and wrong ones: every count and length can be made to lie.
// Called by the tests of formats/. One thread.
#pragma once
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace fathom::testing {

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;
  int64_t extra_tensors = 0, extra_keys = 0;  // added to the counts that the header claims

  template <class T>
  static std::string raw(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string raw_string(std::string_view text) { return raw<uint64_t>(text.size()) + std::string(text); }

  GgufBuilder& key(std::string_view name, GgufType type, const std::string& value) {
    keys_ += raw_string(name) + raw(static_cast<uint32_t>(type)) + value;
    ++key_count_;
    return *this;
  }
  GgufBuilder& key(std::string_view name, std::string_view text) {
    return key(name, GgufType::kString, raw_string(text));
  }
  GgufBuilder& key(std::string_view name, const char* text) { return key(name, std::string_view(text)); }
  GgufBuilder& key(std::string_view name, uint32_t value) { return key(name, GgufType::kU32, raw(value)); }
  GgufBuilder& key(std::string_view name, float value) { return key(name, GgufType::kF32, raw(value)); }
  GgufBuilder& key(std::string_view name, bool value) { return key(name, GgufType::kBool, raw<uint8_t>(value)); }
  GgufBuilder& key(std::string_view name, const std::vector<std::string>& texts) {
    std::string value = raw(static_cast<uint32_t>(GgufType::kString)) + raw<uint64_t>(texts.size());
    for (const std::string& t : texts) value += raw_string(t);
    return key(name, GgufType::kArray, value);
  }
  GgufBuilder& key(std::string_view name, const std::vector<int32_t>& numbers) {
    std::string value = raw(static_cast<uint32_t>(GgufType::kI32)) + raw<uint64_t>(numbers.size());
    for (int32_t n : numbers) value += raw(n);
    return key(name, GgufType::kArray, value);
  }
  /// ne: innermost first. The data is padded to the alignment, as writers do.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& ne, uint32_t type, const std::string& data) {
    tensor_info(name, ne, type, data_.size());
    data_ += data;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  GgufBuilder& tensor_info(std::string_view name, const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset) {
    infos_ += raw_string(name) + raw(static_cast<uint32_t>(ne.size()));
    for (uint64_t n : ne) infos_ += raw(n);
    infos_ += raw(type) + raw(offset);
    ++tensor_count_;
    return *this;
  }
  std::string bytes() const {
    std::string out = "GGUF" + raw(version) + raw(static_cast<uint64_t>(tensor_count_ + extra_tensors)) +
                      raw(static_cast<uint64_t>(key_count_ + extra_keys)) + keys_ + infos_;
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    return out + data_;
  }

 private:
  std::string keys_, infos_, data_;
  int64_t key_count_ = 0, tensor_count_ = 0;
};

}  // namespace fathom::testing
