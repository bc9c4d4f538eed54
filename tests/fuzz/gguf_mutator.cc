// Changes whole metadata entries and tensor infos of a GGUF input, with counts, lengths and padding kept right, half of
// the time; libFuzzer's own byte mutations do the other half. Bytes alone rarely survive the first wrong length.
// Linked into fuzz_gguf only. One thread.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace fathom::fuzz {
namespace {

/// A GGUF file in parts: every entry and info as its bytes, the data behind them.
struct Parts {
  std::vector<std::string> entries, infos;
  std::string data;
};

/// Reads far enough to find the parts' ends; what is wrong beyond that is kept as it is.
class Splitter {
 public:
  explicit Splitter(std::string_view bytes) : bytes_(bytes) {}

  std::optional<Parts> split() {
    constexpr uint64_t kMost = 4096;
    if (!bytes_.starts_with("GGUF") || bytes_.size() < 24) return std::nullopt;
    at_ = 8;
    const uint64_t tensors = number(8), keys = number(8);
    if (tensors > kMost || keys > kMost) return std::nullopt;
    Parts parts;
    for (uint64_t i = 0; i < keys && ok_; ++i)
      parts.entries.push_back(taken([&] { skip_text(), skip_value(number(4)); }));
    for (uint64_t i = 0; i < tensors && ok_; ++i)
      parts.infos.push_back(taken([&] {
        skip_text();
        const uint64_t rank = number(4);
        skip(rank > 8 ? bytes_.size() : 8 * rank + 12);
      }));
    if (!ok_) return std::nullopt;
    parts.data = bytes_.substr(std::min(bytes_.size(), (at_ + 31) / 32 * 32));
    return parts;
  }

 private:
  template <class F>
  std::string taken(F&& f) {
    const size_t begin = at_;
    f();
    return std::string(bytes_.substr(std::min(begin, bytes_.size()), at_ - begin));
  }
  uint64_t number(size_t size) {
    uint64_t n = 0;
    if (!ok_ || size > bytes_.size() - at_) return ok_ = false, 0;
    std::memcpy(&n, bytes_.data() + at_, size);
    at_ += size;
    return n;
  }
  void skip(uint64_t size) {
    if (!ok_ || size > bytes_.size() - at_)
      ok_ = false;
    else
      at_ += size;
  }
  void skip_text() { skip(number(8)); }
  void skip_value(uint64_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type > 12) ok_ = false;
    if (!ok_) return;
    if (type == 8) return skip_text();
    if (type != 9) return skip(kSizes[type]);
    const uint64_t element = number(4), count = number(8);
    if (element == 9 || count > bytes_.size()) ok_ = false;
    for (uint64_t i = 0; i < count && ok_; ++i) skip_value(element);
  }

  std::string_view bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string joined(const Parts& parts, uint32_t version) {
  std::string out = "GGUF";
  append(out, version);
  append(out, static_cast<uint64_t>(parts.infos.size()));
  append(out, static_cast<uint64_t>(parts.entries.size()));
  for (const std::string& entry : parts.entries) out += entry;
  for (const std::string& info : parts.infos) out += info;
  out.resize((out.size() + 31) / 32 * 32, '\0');
  return out + parts.data;
}

/// A text of the dictionary's kind behind its length: the name at the front of an entry or info, changed.
std::string renamed(const std::string& part) {
  uint64_t length = 0;
  if (part.size() < 8) return part;
  std::memcpy(&length, part.data(), 8);
  if (length > part.size() - 8) return part;
  std::vector<uint8_t> name(part.begin() + 8, part.begin() + 8 + static_cast<ptrdiff_t>(length));
  name.resize(length + 24);
  name.resize(LLVMFuzzerMutate(name.data(), length, name.size()));
  std::string out;
  append(out, static_cast<uint64_t>(name.size()));
  out.append(name.begin(), name.end());
  return out + part.substr(8 + length);
}

/// The value of an entry (numbers and lengths alike), or a tensor's dimensions, type and offset: a few bytes changed,
/// the length of the part kept.
std::string revalued(const std::string& part) {
  uint64_t length = 0;
  if (part.size() < 8) return part;
  std::memcpy(&length, part.data(), 8);
  if (length > part.size() - 8) return part;
  std::string out = part;
  auto* value = reinterpret_cast<uint8_t*>(out.data()) + 8 + length;
  const size_t size = out.size() - 8 - length;
  if (size) LLVMFuzzerMutate(value, size, size);
  return out;
}

void change(std::vector<std::string>& parts, std::minstd_rand& random) {
  if (parts.empty()) return;
  const size_t i = random() % parts.size(), j = random() % parts.size();
  switch (random() % 6) {
    case 0: parts.erase(parts.begin() + static_cast<ptrdiff_t>(i)); break;
    case 1: parts.insert(parts.begin() + static_cast<ptrdiff_t>(i), renamed(parts[j])); break;
    case 2: std::swap(parts[i], parts[j]); break;
    case 3: parts[i] = renamed(parts[i]); break;
    default: parts[i] = revalued(parts[i]); break;
  }
}

std::optional<std::string> mutated(std::string_view input, unsigned seed) {
  std::minstd_rand random(seed + 1);
  std::optional<Parts> parts = Splitter(input).split();
  if (!parts || random() % 2) return std::nullopt;
  for (unsigned n = 1 + random() % 3; n > 0; --n) change(random() % 3 ? parts->entries : parts->infos, random);
  return joined(*parts, random() % 8 ? 3 : 2);
}

/// Entries and infos of both, at random, with the data of the first.
std::optional<std::string> crossed(std::string_view a, std::string_view b, unsigned seed) {
  std::minstd_rand random(seed + 1);
  std::optional<Parts> x = Splitter(a).split(), y = Splitter(b).split();
  if (!x || !y) return std::nullopt;
  for (std::string& entry : y->entries)
    if (random() % 3 == 0) x->entries.push_back(std::move(entry));
  for (std::string& info : y->infos)
    if (random() % 4 == 0) x->infos.push_back(std::move(info));
  return joined(*x, 3);
}

size_t put(const std::string& bytes, uint8_t* out) {
  std::memcpy(out, bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace
}  // namespace fathom::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  const auto bytes = fathom::fuzz::mutated({reinterpret_cast<const char*>(data), size}, seed);
  if (!bytes || bytes->size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  return fathom::fuzz::put(*bytes, data);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size,
                                            uint8_t* out, size_t max_size, unsigned seed) {
  const auto bytes = fathom::fuzz::crossed({reinterpret_cast<const char*>(a), a_size},
                                           {reinterpret_cast<const char*>(b), b_size}, seed);
  return bytes && bytes->size() <= max_size ? fathom::fuzz::put(*bytes, out) : 0;
}
