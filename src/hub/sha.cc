#include "hub/sha.h"

#include <sodium/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/mapped_file.h"

namespace fathom {
namespace {

std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : bytes) out += {kDigits[byte >> 4], kDigits[byte & 15]};
  return out;
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

}  // namespace

Sha256::Sha256() {
  check(sodium_init() >= 0, "libsodium did not start");
  crypto_hash_sha256_init(&state_);
}

void Sha256::update(std::string_view bytes) {
  crypto_hash_sha256_update(&state_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

std::string Sha256::hex() {
  std::array<uint8_t, crypto_hash_sha256_BYTES> digest;
  crypto_hash_sha256_final(&state_, digest.data());
  return to_hex(digest);
}

void Sha1::block(const uint8_t* bytes) {
  std::array<uint32_t, 80> w;
  for (size_t t = 0; t < 16; ++t) w[t] = big_endian(bytes + 4 * t);
  for (size_t t = 16; t < 80; ++t) w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  auto [a, b, c, d, e] = state_;
  for (size_t t = 0; t < 80; ++t) {
    uint32_t mixed = 0;
    if (t < 20)
      mixed = ((b & c) | (~b & d)) + 0x5a827999;
    else if (t < 40)
      mixed = (b ^ c ^ d) + 0x6ed9eba1;
    else if (t < 60)
      mixed = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    else
      mixed = (b ^ c ^ d) + 0xca62c1d6;
    const uint32_t next = std::rotl(a, 5) + mixed + e + w[t];
    e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
  }
  state_[0] += a, state_[1] += b, state_[2] += c, state_[3] += d, state_[4] += e;
}

void Sha1::update(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t used = size_ % tail_.size();
    const size_t n = std::min(tail_.size() - used, bytes.size());
    std::memcpy(tail_.data() + used, bytes.data(), n);
    size_ += n;
    bytes.remove_prefix(n);
    if (used + n == tail_.size()) block(tail_.data());
  }
}

std::string Sha1::hex() {
  const uint64_t bits = 8 * size_;
  update(std::string_view("\x80", 1));
  while (size_ % 64 != 56) update(std::string_view("\0", 1));
  std::string length;
  for (int shift = 56; shift >= 0; shift -= 8) length += static_cast<char>(bits >> shift & 255);
  update(length);
  std::array<uint8_t, 20> digest;
  for (size_t i = 0; i < digest.size(); ++i) digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return to_hex(digest);
}

FileHashes hash_file(const std::filesystem::path& path, bool with_git_oid, const std::atomic<bool>& stop) {
  const InputFile file(path);
  Sha256 sha256;
  Sha1 sha1;
  sha1.update(cat("blob ", file.size(), '\0'));
  std::string buffer(size_t{1} << 20, '\0');
  for (uint64_t offset = 0; offset < file.size() && !stop;) {
    const size_t n = std::min<uint64_t>(buffer.size(), file.size() - offset);
    file.read(offset, buffer.data(), n);
    sha256.update({buffer.data(), n});
    if (with_git_oid) sha1.update({buffer.data(), n});
    offset += n;
  }
  if (stop) return {};
  return {sha256.hex(), with_git_oid ? sha1.hex() : ""};
}

}  // namespace fathom
