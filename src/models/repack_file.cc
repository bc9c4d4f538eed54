#include "models/repack_file.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>

#include "base/checksum.h"
#include "formats/atomic_file.h"
#include "models/weights.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kVersion = 2;
constexpr size_t kPiece = size_t{1} << 20, kAlign = 64, kPage = 4096;
/// Of writes: whole and aligned ones get huge pages in the page cache, where the file system has them.
constexpr size_t kWrite = size_t{2} << 20;

struct Header {
  char magic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'R', 'P'};
  uint32_t version = kVersion, reserved = 0;
  char weights_id[64] = {}, table[16] = {};
  uint64_t layout = 0;  ///< layout_id()
  uint64_t pieces = 0, file_bytes = 0;
  uint64_t head_checksum = 0;  ///< of the header with 0 here, then of the pieces' checksums
  char zeros[128] = {};
};
static_assert(sizeof(Header) == 256);

constexpr uint64_t up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// How this program packs, by what it makes of a small matrix of every type: a change of the layout changes it.
uint64_t layout_id() {
  static const uint64_t id = [] {
    uint64_t sum = checksum({});
    for (size_t i = 0; i < kDTypeCount; ++i) {
      const auto type = static_cast<DType>(i);
      if (int8_block(type) == 0 && type != DType::kF32) continue;
      const Tensor stored = make_tensor(type, {kPanelRows + 1, 2 * size_t{info(type).block_size}});
      for (size_t b = 0; b < stored.size_bytes(); ++b) stored.bytes()[b] = static_cast<std::byte>(b * 167 + b / 256);
      const Weight packed("layout", stored);
      sum = checksum({packed.view().data, packed.size_bytes()}, sum + i);
    }
    return sum;
  }();
  return id;
}

Header header_of(const RepackKey& key) {
  Header h;
  check(key.weights_id.size() == sizeof h.weights_id && key.table.size() < sizeof h.table, "a key that fits");
  std::copy(key.weights_id.begin(), key.weights_id.end(), h.weights_id);
  std::copy(key.table.begin(), key.table.end(), h.table);
  h.layout = layout_id();
  return h;
}

uint64_t head_checksum(Header h, std::span<const uint64_t> pieces) {
  h.head_checksum = 0;
  return checksum(std::as_bytes(pieces), checksum(std::as_bytes(std::span(&h, 1))));
}

uint64_t data_begin(uint64_t pieces) { return up(sizeof(Header) + pieces * sizeof(uint64_t), kPage); }

size_t pieces_of(uint64_t bytes) { return static_cast<size_t>((bytes + kPiece - 1) / kPiece); }

uint64_t matrix_seed(const std::string& name, DType dtype, size_t O, size_t K) {
  return checksum(bytes_of(cat(name, "\n", dtype, "\n", O, ",", K)));
}

/// f(piece's number, its bytes in `data`) on the pool's threads.
template <class F>
void each_piece(ThreadPool& pool, std::span<const std::byte> data, const F& f) {
  pool.run(pieces_of(data.size()),
           [&](size_t i) { f(i, data.subspan(i * kPiece, std::min(kPiece, data.size() - i * kPiece))); });
}

/// Hands a stream to the file in whole blocks of kWrite bytes.
class BlockWriter {
 public:
  explicit BlockWriter(AtomicFile& file) : file_(file) { buffer_.reserve(kWrite); }
  void write(std::span<const std::byte> bytes) {
    at_ += bytes.size();
    while (!bytes.empty()) {
      const bool direct = buffer_.empty() && bytes.size() >= kWrite;
      const size_t n = direct ? bytes.size() / kWrite * kWrite : std::min(kWrite - buffer_.size(), bytes.size());
      if (direct)
        file_.write(bytes.data(), n);
      else
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      if (buffer_.size() == kWrite) flush();
      bytes = bytes.subspan(n);
    }
  }
  void align(size_t to) {
    const std::vector<std::byte> zeros(up(at_, to) - at_);
    write(zeros);
  }
  void flush() {
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

 private:
  AtomicFile& file_;
  std::vector<std::byte> buffer_;
  uint64_t at_ = 0;
};

/// Asks for huge pages; whether the mapped file's middle now lies in them. Few systems grant them to files.
bool use_huge_pages(std::span<const std::byte> mapped) {
  ::madvise(const_cast<std::byte*>(mapped.data()), mapped.size(), MADV_HUGEPAGE);
  *static_cast<const volatile std::byte*>(mapped.data() + mapped.size() / 2);  // maps it
  std::ostringstream address;
  address << std::hex << reinterpret_cast<uintptr_t>(mapped.data()) << '-';
  std::ifstream maps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    if (here && line.starts_with("FilePmdMapped:")) return line.find_first_of("123456789") != std::string::npos;
    here = here || line.starts_with(address.str());
  }
  return false;
}

std::string text(const char* begin, size_t most) { return {begin, ::strnlen(begin, most)}; }

/// Throws Error naming the first field that is another.
void require_header(const std::string& path, const Header& found, const Header& want, uint64_t file_bytes) {
  const auto differ = [&](const char* what, const auto& expected, const auto& got) {
    if (!(expected == got)) throw Error(cat(path, ": expected ", what, " ", expected, ", found ", got));
  };
  if (std::memcmp(found.magic, want.magic, sizeof want.magic) != 0)
    throw Error(cat(path, ": expected a file of repacked weights, found something else"));
  differ("version", want.version, found.version);
  const auto id = [](const Header& h) { return text(h.weights_id, sizeof h.weights_id); };
  if (id(found) != id(want)) throw Error(cat(path, ": expected the weights of its name, found those of another model"));
  if (text(found.table, sizeof found.table) != text(want.table, sizeof want.table))
    throw Error(cat(path, ": expected kernels ", text(want.table, sizeof want.table), ", found others"));
  if (found.layout != want.layout) throw Error(cat(path, ": packed in another layout than this program's"));
  differ("bytes:", found.file_bytes, file_bytes);
  if (found.pieces > (file_bytes - sizeof(Header)) / sizeof(uint64_t))
    throw Error(cat(path, ": expected as many checksums as fit, found ", found.pieces));
}

fs::path path_of(const fs::path& folder, const RepackKey& key, uint32_t version) {
  return folder / cat(key.weights_id, ".", key.table, ".v", version);
}

}  // namespace

fs::path repack_path(const fs::path& folder, const RepackKey& key) { return path_of(folder, key, kVersion); }

RepackFile::RepackFile(const fs::path& path, const RepackKey& key, std::optional<bool> in_place) : path_(path) {
  const InputFile file(path);
  Header header;
  file.read(0, &header, sizeof header);
  require_header(path.string(), header, header_of(key), file.size());
  checksums_.resize(static_cast<size_t>(header.pieces));
  file.read(sizeof header, checksums_.data(), checksums_.size() * sizeof(uint64_t));
  if (head_checksum(header, checksums_) != header.head_checksum)
    throw Error(cat(path.string(), ": the checksum of its head does not fit"));
  at_ = data_begin(header.pieces);
  map_ = std::make_shared<const MappedFile>(file);
  in_place_ = in_place ? *in_place : use_huge_pages(map_->bytes());
}

Tensor RepackFile::next(const std::string& name, DType dtype, size_t O, size_t K, ThreadPool& pool) {
  const uint64_t size = packed_bytes(dtype, O, K), end = map_->bytes().size();
  const size_t pieces = pieces_of(size);
  at_ = up(at_, kAlign);
  if (at_ > end || size > end - at_ || pieces > checksums_.size() - piece_)
    throw Error(
        cat(path_.string(), ": expected ", size, " bytes of tensor ", name, " at byte ", at_, ", found the end"));
  const std::span<const std::byte> stored = map_->bytes().subspan(at_, size);
  // Huge pages of our own cost a copy, and every token after that is read faster.
  const Tensor panels = in_place_ ? Tensor(DType::kU8, {size}, {map_, const_cast<std::byte*>(stored.data())})
                                  : make_tensor(DType::kU8, {size});
  const uint64_t seed = matrix_seed(name, dtype, O, K);
  std::atomic<bool> damaged{false};
  each_piece(pool, stored, [&](size_t i, std::span<const std::byte> piece) {
    std::byte* to = panels.bytes() + i * kPiece;
    if (!in_place_) std::memcpy(to, piece.data(), piece.size());
    if (checksum({to, piece.size()}, seed + i) != checksums_[piece_ + i]) damaged = true;
  });
  if (damaged) throw Error(cat(path_.string(), ": the checksum of tensor ", name, " does not fit"));
  if (!in_place_) map_->release(stored);
  at_ += size, piece_ += pieces;
  return panels;
}

void RepackFile::require_end() const {
  if (at_ != map_->bytes().size() || piece_ != checksums_.size())
    throw Error(cat(path_.string(), ": expected the end at byte ", at_, ", found ", map_->bytes().size(), " bytes"));
}

uint64_t write_repack_file(const fs::path& path, const RepackKey& key, const Weights& weights, ThreadPool& pool) {
  static std::mutex one_at_a_time;  // two of one process would share the name of the file aside
  const std::lock_guard lock(one_at_a_time);
  Header header = header_of(key);
  std::vector<uint64_t> checksums;
  uint64_t data = 0;
  for (const Weight* w : weights.in_order()) {
    const std::span<const std::byte> panels(w->view().data, w->size_bytes());
    const uint64_t seed = matrix_seed(w->name(), w->dtype(), w->O(), w->K());
    const size_t before = checksums.size();
    checksums.resize(before + pieces_of(panels.size()));
    each_piece(pool, panels,
               [&](size_t i, std::span<const std::byte> piece) { checksums[before + i] = checksum(piece, seed + i); });
    data = up(data, kAlign) + panels.size();
  }
  header.pieces = checksums.size();
  header.file_bytes = data_begin(header.pieces) + data;
  header.head_checksum = head_checksum(header, checksums);

  fs::create_directories(path.parent_path());
  std::error_code error;  // what cannot be removed stays
  for (uint32_t old = 1; old < kVersion; ++old) fs::remove(path_of(path.parent_path(), key, old), error);
  require_room(path, header.file_bytes);
  AtomicFile file(path);
  BlockWriter out(file);
  out.write(std::as_bytes(std::span(&header, 1)));
  out.write(std::as_bytes(std::span(checksums)));
  out.align(kPage);
  for (const Weight* w : weights.in_order()) {
    out.align(kAlign);
    out.write({w->view().data, w->size_bytes()});
  }
  out.flush();
  file.commit(/*sync=*/false);  // the checksums tell
  return header.file_bytes;
}

uint64_t remove_repack_files(const fs::path& folder, const std::vector<std::string>& weights_ids) {
  uint64_t freed = 0;
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    for (const std::string& id : weights_ids)
      if (at->path().filename().string().starts_with(id + ".")) found.push_back(at->path());
  for (const fs::path& file : found) {
    const uint64_t size = fs::file_size(file, error);
    if (fs::remove(file, error)) freed += size;
  }
  return freed;
}

}  // namespace fathom
