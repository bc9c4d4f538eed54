// The hashes by which the hub names content: SHA-256 of large files, git's SHA-1 of small ones. SHA-256 is libsodium's;
// SHA-1 (RFC 3174) is here, because libsodium has none and it only identifies: what it protects against is a broken
// download, not a forger. Called by hub/part_file.cc. One thread at a time per object.
#pragma once
#include <sodium/crypto_hash_sha256.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  /// 64 lower-case hex digits; the object is used up.
  std::string hex();

 private:
  crypto_hash_sha256_state state_;
};

class Sha1 {
 public:
  void update(std::string_view bytes);
  /// 40 lower-case hex digits; the object is used up.
  std::string hex();

 private:
  void block(const uint8_t* bytes);
  std::array<uint32_t, 5> state_ = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  std::array<uint8_t, 64> tail_{};
  uint64_t size_ = 0;
};

struct FileHashes {
  std::string sha256;
  std::string git_oid;  ///< SHA-1 of "blob SIZE\0" and the content, as git names it; empty where nobody asked
};

/// The hashes of a file, read once. Throws Error naming the path; ends early with empty hashes once `stop` is set.
FileHashes hash_file(const std::filesystem::path& path, bool with_git_oid, const std::atomic<bool>& stop);

}  // namespace fathom
