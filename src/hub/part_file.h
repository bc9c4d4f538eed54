// A file on its way: its bytes in NAME.part and, beside it, NAME.part.json, which says which of them are there. The
// state may lag behind the bytes, never run ahead of them in this process; what a crash of the machine loses, the hash
// finds. Called by hub/download.cc and hub/model_folder.cc. One thread.
#pragma once
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/local_file.h"
#include "hub/repository.h"

namespace fathom {

class PartFile {
 public:
  /// Reads the state below `parts`; begins anew where it is absent, broken, or that of another content.
  PartFile(const std::filesystem::path& parts, const RemoteFile& file);

  /// Part i holds the bytes [begin(i), end(i)) of the file, of which the first done(i) are here.
  size_t pieces() const { return done_.size(); }
  uint64_t begin(size_t i) const { return i * piece_bytes_; }
  uint64_t end(size_t i) const { return std::min(size_, (i + 1) * piece_bytes_); }
  uint64_t done(size_t i) const { return done_[i]; }
  bool piece_complete(size_t i) const { return done_[i] == end(i) - begin(i); }
  uint64_t done_bytes() const;
  bool complete() const { return done_bytes() == size_; }

  /// The next bytes of piece i. Throws Error where they reach beyond its end, or the disk does not take them.
  void append(size_t i, std::string_view bytes);
  /// Forgets the bytes; with `one_piece` the file comes as a whole from now on.
  void restart(bool one_piece);
  /// The state to disk; nothing where it has not changed.
  void save();
  /// All bytes are there: to disk with them, and the file is closed.
  void finish();

  const std::string& etag() const { return etag_; }
  void set_etag(std::string etag);
  /// The whole file's SHA-256, once its content was checked; else empty.
  const std::string& verified() const { return verified_; }
  void set_verified(const std::string& sha256);

  std::filesystem::path path() const { return path_; }
  /// Removes bytes and state.
  void remove();
  void remove_state() const;

 private:
  void load();
  void lay_out(uint64_t piece_bytes);
  std::filesystem::path state_path() const;
  std::filesystem::path parts_, path_;
  uint64_t size_, piece_bytes_ = 1;
  std::string identity_, etag_, verified_, relative_;
  std::vector<uint64_t> done_;
  std::optional<OutputFile> out_;  // open while bytes come
  bool changed_ = false;
};

/// "x/y" -> "x/y.part", below `parts`.
std::filesystem::path part_path(const std::filesystem::path& parts, const std::string& path);

/// Bytes that are there of all files below `parts`, by their states; unreadable ones count 0.
uint64_t part_bytes(const std::filesystem::path& parts);

}  // namespace fathom
