// The keys of `fathom serve`: from a file that is looked at again whenever it changes, and perhaps one from the
// environment. Only hashes stay in memory. Called by key_access.cc under its lock: one thread at a time.
#pragma once
#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace fathom {

class KeyRing {
 public:
  using Digest = Blake2b256::Digest;
  struct Key {
    std::string name;  ///< for logs: the file's, or "line 3", or the environment's variable
    Digest digest;     ///< BLAKE2b-256 of the key
  };
  static constexpr size_t kLeastLength = 16, kMostLength = 512, kMostKeys = 1000;

  /// `file`: a key a line, [NAME] KEY, '#' comments; empty: none. `single`: a key by itself, of that name; empty: none.
  /// Keys are printable ASCII without spaces. Throws Error, which never has a key in it, for a file that cannot be
  /// read, is this user's and may be read or changed by others (as ssh has it), has no key, or something else than
  /// keys.
  explicit KeyRing(std::filesystem::path file, const std::string& single = "", const std::string& single_name = "");

  /// Reads the file anew if it is another than before. True: the keys have changed. A file that has become bad leaves
  /// the keys as they are, and the log says so once.
  bool refresh();

  /// The key whose text this is, or null; takes the same time for every text of the same length.
  const Key* find(std::string_view text) const;
  const std::vector<Key>& all() const { return keys_; }
  const std::filesystem::path& file() const { return file_; }
  /// What is to be told of the file though it was taken; "": nothing.
  const std::string& note() const { return note_; }

  static Digest digest_of(std::string_view text);

 private:
  void read(const struct stat& info);
  bool same_file(const struct stat& info) const;

  const std::filesystem::path file_;
  std::optional<Key> single_;
  std::vector<Key> keys_;
  std::string note_;
  struct stat seen_ {};
};

}  // namespace fathom
