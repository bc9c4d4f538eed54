#include "hub/part_file.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kSmallestPiece = uint64_t{8} << 20, kLargestPiece = uint64_t{256} << 20;
constexpr size_t kMostStateBytes = size_t{16} << 20;

/// Pieces small enough that few bytes wait for a slow connection at the end, and few enough that the hub is not asked
/// too often.
uint64_t usual_piece(uint64_t size) {
  return std::clamp((size / 64 + kSmallestPiece - 1) / kSmallestPiece * kSmallestPiece, kSmallestPiece, kLargestPiece);
}

uint64_t non_negative(int64_t x, const JsonObject& object) {
  if (x < 0) throw Error(cat(object.what(), ": expected no negative number"));
  return static_cast<uint64_t>(x);
}

}  // namespace

fs::path part_path(const fs::path& parts, const std::string& path) { return parts / (path + ".part"); }

fs::path PartFile::state_path() const {
  fs::path path = path_;
  path += ".json";
  return path;
}

PartFile::PartFile(const fs::path& parts, const RemoteFile& file)
    : parts_(parts),
      path_(part_path(parts, file.path)),
      size_(file.size),
      identity_(file.identity()),
      relative_(file.path) {
  lay_out(usual_piece(size_));
  refuse_links(parts, relative_ + ".part");
  std::error_code error;
  if (!fs::exists(path_, error)) return;
  try {
    load();
  } catch (const Error&) {  // no state, a broken one, or that of another content
    lay_out(usual_piece(size_));
    etag_.clear(), verified_.clear();
  }
}

void PartFile::lay_out(uint64_t piece_bytes) {
  piece_bytes_ = std::max<uint64_t>(piece_bytes, 1);
  done_.assign(size_ / piece_bytes_ + (size_ % piece_bytes_ != 0), 0);
}

void PartFile::load() {
  const std::string what = state_path().string();
  const json::value value = parse_json(read_text_file(state_path(), kMostStateBytes), what);
  const JsonObject state(value, what);
  if (state.string("format") != "fathom.part" || state.integer("version") != 1 ||
      non_negative(state.integer("size"), state) != size_ || state.string("identity") != identity_)
    throw Error(cat(what, ": expected the state of this file, found another"));
  const uint64_t piece = non_negative(state.integer("piece_bytes"), state);
  const json::array& done = state.array("done");
  const bool fits = piece > 0 && done.size() == size_ / piece + (size_ % piece != 0);
  if (!fits) throw Error(cat(what, ": expected as many pieces as the size asks for, found ", done.size()));
  lay_out(piece);
  std::error_code error;
  const uint64_t there = fs::file_size(path_, error);
  if (error) throw Error(cat(path_.string(), ": ", error.message()));
  for (size_t i = 0; i < done.size(); ++i) {
    const int64_t* bytes = done[i].if_int64();
    if (!bytes || *bytes < 0 || static_cast<uint64_t>(*bytes) > end(i) - begin(i) ||
        (*bytes > 0 && begin(i) + static_cast<uint64_t>(*bytes) > there))
      throw Error(cat(what, ": done: expected numbers of bytes that are there"));
    done_[i] = static_cast<uint64_t>(*bytes);
  }
  etag_ = state.string_or("etag", "");
  verified_ = complete() ? state.string_or("verified", "") : "";
}

uint64_t PartFile::done_bytes() const { return std::accumulate(done_.begin(), done_.end(), uint64_t{0}); }

void PartFile::append(size_t i, std::string_view bytes) {
  if (bytes.size() > end(i) - begin(i) - done_[i])
    throw Error(cat(relative_, ": expected ", end(i) - begin(i), " bytes from ", begin(i), " on, found more"));
  if (!out_) {
    changed_ = true;
    save();  // before the first byte: bytes without a state belong to nothing
    out_.emplace(path_);
  }
  out_->write(begin(i) + done_[i], bytes);
  done_[i] += bytes.size();
  changed_ = true;
}

void PartFile::restart(bool one_piece) {
  lay_out(one_piece ? size_ : usual_piece(size_));
  etag_.clear(), verified_.clear();
  changed_ = true;
}

void PartFile::save() {
  if (!changed_) return;
  make_folders(parts_, fs::path(relative_).parent_path());
  const json::object state{{"format", "fathom.part"},
                           {"version", 1},
                           {"size", size_},
                           {"identity", identity_},
                           {"piece_bytes", piece_bytes_},
                           {"done", json::array(done_.begin(), done_.end())},
                           {"etag", etag_},
                           {"verified", verified_}};
  const std::string text = to_json(state) + "\n";
  try {
    // Not synced, as it is written often: a crash of the machine costs the file's bytes, never its correctness.
    write_text_file(state_path(), text, /*durable=*/false);
  } catch (const ResourceError&) {
    // A full disk has no room for a second state, but the old one's place will do: what came before is not lost.
    const OutputFile file(state_path());
    file.write(0, text);
    file.resize(text.size());
  }
  changed_ = false;
}

void PartFile::finish() {
  make_folders(parts_, fs::path(relative_).parent_path());
  if (!out_) out_.emplace(path_);
  out_->resize(size_);
  out_->sync();
  out_.reset();
  changed_ = true;
  save();
}

void PartFile::set_etag(std::string etag) {
  changed_ |= etag != etag_;
  etag_ = std::move(etag);
}

void PartFile::set_verified(const std::string& sha256) {
  verified_ = sha256;
  changed_ = true;
  save();
}

void PartFile::remove() {
  out_.reset();
  std::error_code error;
  fs::remove(path_, error);
  remove_state();
  lay_out(usual_piece(size_));
  etag_.clear(), verified_.clear();
  changed_ = false;
}

void PartFile::remove_state() const {
  std::error_code error;
  fs::remove(state_path(), error);
}

uint64_t part_bytes(const fs::path& parts) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(parts, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().string().ends_with(".part.json") || it->is_symlink(error)) continue;
    try {
      const json::value value = parse_json(read_text_file(it->path(), kMostStateBytes), it->path().string());
      for (const json::value& bytes : JsonObject(value, it->path().string()).array("done"))
        if (const int64_t* n = bytes.if_int64(); n && *n > 0) total += static_cast<uint64_t>(*n);
    } catch (const Error&) {
      continue;  // broken states count nothing; the pull begins that file anew
    }
  }
  return total;
}

}  // namespace fathom
