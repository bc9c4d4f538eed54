#include "quant/imatrix.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace fathom {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr char kDatasets[] = "imatrix.datasets", kChunkCount[] = "imatrix.chunk_count",
               kChunkSize[] = "imatrix.chunk_size";

void require_finite(const std::string& what, const std::vector<float>& values) {
  for (const float v : values)
    if (!std::isfinite(v) || v < 0) throw Error(cat(what, ": expected finite values of at least 0, found ", v));
}

void check_entry(const std::string& what, const ImportanceEntry& entry) {
  if (entry.counts.empty() || entry.in_sum2.empty() || entry.in_sum2.size() % entry.counts.size() != 0)
    throw Error(cat(what, ": expected a number of sums that the counts divide, found ", entry.in_sum2.size(),
                    " sums and ", entry.counts.size(), " counts"));
  require_finite(what + std::string(kSums), entry.in_sum2);
  require_finite(what + std::string(kCounts), entry.counts);
}

std::vector<float> floats_of(const GgufFile& file, const std::string& what, const std::string& name) {
  const Tensor t = file.tensor(name);
  if (t.dtype() != DType::kF32) throw Error(cat(what, name, ": expected type F32, found ", t.dtype()));
  const std::span<const float> values = t.span<float>();
  return {values.begin(), values.end()};
}

uint32_t count_key(const GgufMetadata& metadata, const char* key) {
  const std::optional<uint64_t> value = metadata.integer(key);
  if (!value || *value > UINT32_MAX)
    throw Error(cat(metadata.what(), ": key ", key, ": expected a number below 2^32, found ",
                    value ? cat(*value) : std::string("none")));
  return static_cast<uint32_t>(*value);
}

ImportanceMatrix read_gguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  const std::string what = path.string() + ": tensor ";
  ImportanceMatrix matrix;
  for (const TensorInfo& t : file.tensors()) {
    const bool sums = t.name.ends_with(kSums), counts = t.name.ends_with(kCounts);
    if (!sums && !counts) continue;
    const std::string name = t.name.substr(0, t.name.size() - (sums ? kSums : kCounts).size());
    const std::string partner = name + std::string(sums ? kCounts : kSums);
    if (!file.has(partner))
      throw Error(cat(what, printable(t.name), ": expected ", printable(partner), " with it, found none"));
    if (!sums) continue;
    ImportanceEntry entry{floats_of(file, what, t.name), floats_of(file, what, partner)};
    check_entry(what + printable(name), entry);
    matrix.entries.emplace(name, std::move(entry));
  }
  if (matrix.entries.empty())
    throw Error(cat(path.string(), ": expected an importance matrix (tensors *.in_sum2 and *.counts), found none"));
  if (!file.metadata().has(kDatasets))
    throw Error(cat(path.string(), ": key ", kDatasets, ": expected the names of texts, found none"));
  matrix.datasets = file.metadata().strings(kDatasets);
  matrix.chunk_count = count_key(file.metadata(), kChunkCount);
  matrix.chunk_size = count_key(file.metadata(), kChunkSize);
  return matrix;
}

/// The older form: int32 lengths and counts, f32 values, one after the other.
class LegacyReader {
 public:
  explicit LegacyReader(const InputFile& file) : file_(file), what_(file.path().string()) {}

  bool at_end() const { return at_ == file_.size(); }
  int32_t number(const std::string& name_of, int32_t least) {
    int32_t value = 0;
    file_.read(at_, &value, sizeof value);
    at_ += sizeof value;
    if (value < least) throw Error(cat(what_, ": ", name_of, ": expected at least ", least, ", found ", value));
    return value;
  }
  std::string text(const std::string& name_of) {
    std::string out(bounded(number(name_of, 0), 1, name_of), '\0');
    take(out.data(), out.size());
    return out;
  }
  std::vector<float> floats(size_t n, const std::string& name_of) {
    std::vector<float> out(bounded(n, sizeof(float), name_of));
    take(out.data(), n * sizeof(float));
    return out;
  }

 private:
  size_t bounded(size_t n, size_t size, const std::string& name_of) const {
    if (n > (file_.size() - at_) / size)
      throw Error(cat(what_, ": ", name_of, ": expected at most the ", file_.size() - at_,
                      " bytes that are left, found ", n, " values"));
    return n;
  }
  void take(void* out, size_t size) {
    if (size) file_.read(at_, out, size);
    at_ += size;
  }
  const InputFile& file_;
  std::string what_;
  uint64_t at_ = 0;
};

ImportanceMatrix read_legacy(const InputFile& file) {
  LegacyReader in(file);
  ImportanceMatrix matrix;
  const int32_t n = in.number("number of entries", 1);
  for (int32_t i = 0; i < n; ++i) {
    const std::string name = in.text(cat("name of entry ", i)), which = cat("entry ", printable(name));
    const int32_t calls = in.number(which + ", calls", 0);
    const int32_t values = in.number(which + ", values", 1);
    ImportanceEntry entry{in.floats(static_cast<size_t>(values), which), {static_cast<float>(std::max(calls, 1))}};
    check_entry(cat(file.path().string(), ": ", which), entry);
    if (!matrix.entries.emplace(name, std::move(entry)).second)
      throw Error(cat(file.path().string(), ": ", which, ": is there twice"));
  }
  if (in.at_end()) return matrix;
  matrix.chunk_count = static_cast<uint32_t>(in.number("number of chunks", 0));
  if (!in.at_end()) matrix.datasets.push_back(in.text("name of the text"));
  return matrix;
}

}  // namespace

ImportanceMatrix load_imatrix(const std::filesystem::path& path) {
  const InputFile file(path);
  char magic[4] = {};
  if (file.size() >= sizeof magic) file.read(0, magic, sizeof magic);
  return std::memcmp(magic, "GGUF", 4) == 0 ? read_gguf(path) : read_legacy(file);
}

void save_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix) {
  GgufKeys keys;
  keys.set_string("general.type", "imatrix");
  keys.set_strings(kDatasets, matrix.datasets);
  keys.set_u32(kChunkCount, matrix.chunk_count);
  keys.set_u32(kChunkSize, matrix.chunk_size);
  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : matrix.entries) {
    check_entry(cat("importance of ", name), entry);
    const size_t matrices = entry.counts.size(), columns = entry.in_sum2.size() / matrices;
    const bool one = matrices == 1;  // GGUF leaves out trailing dimensions of size 1
    tensors.push_back({name + std::string(kSums), DType::kF32, one ? Shape{columns} : Shape{matrices, columns}, 0});
    tensors.push_back({name + std::string(kCounts), DType::kF32, one ? Shape{1} : Shape{matrices, 1}, 0});
  }
  GgufWriter writer(path, keys, std::move(tensors));
  for (const auto& [name, entry] : matrix.entries) {
    writer.write(std::as_bytes(std::span(entry.in_sum2)));
    writer.write(std::as_bytes(std::span(entry.counts)));
  }
  writer.commit();
}

std::vector<float> mean_squares(const ImportanceEntry& entry, size_t& without_data) {
  const size_t columns = entry.in_sum2.size() / entry.counts.size();
  std::vector<float> means(entry.in_sum2.size(), 1.0f);
  for (size_t m = 0; m < entry.counts.size(); ++m) {
    const float count = std::round(entry.counts[m]);
    if (count == 0) {
      ++without_data;
      continue;
    }
    for (size_t k = m * columns; k < (m + 1) * columns; ++k) means[k] = entry.in_sum2[k] / count;
  }
  return means;
}

}  // namespace fathom
