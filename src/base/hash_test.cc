#include "base/hash.h"

#include <algorithm>
#include <vector>

#include "tests/testing.h"

namespace fathom {
namespace {

std::string hash_of(std::string_view text) {
  Blake2b256 h;
  h.update(text);
  return h.hex();
}

TEST(Blake2b256, KnownAnswers) {
  // From the reference implementation as Python's hashlib carries it: blake2b(..., digest_size=32).
  EXPECT_EQ(hash_of(""), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  EXPECT_EQ(hash_of("abc"), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  std::vector<uint8_t> bytes(5 * 256);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  Blake2b256 h;
  h.update(bytes);
  EXPECT_EQ(h.hex(), "82628cbfc9689e234b0923a531f4578fe2e7138a03e2f81ed6cde97517336650");
}

// The pseudo-random input of RFC 7693, appendix E.
std::vector<uint8_t> rfc_sequence(size_t n) {
  uint32_t a = 0xDEAD4BADu * static_cast<uint32_t>(n), b = 1;
  std::vector<uint8_t> out(n);
  for (uint8_t& byte : out) {
    const uint32_t t = a + b;
    a = b, b = t;
    byte = static_cast<uint8_t>(t >> 24);
  }
  return out;
}

TEST(Blake2b256, SelfTestOfRfc7693) {
  Blake2b256 of_hashes;
  for (size_t length : {20, 32, 48, 64})
    for (size_t n : {0, 3, 128, 129, 255, 1024})
      for (const std::vector<uint8_t>& key : {std::vector<uint8_t>{}, rfc_sequence(length)}) {
        const std::vector<uint8_t> in = rfc_sequence(n);
        std::vector<uint8_t> hash(length);
        crypto_generichash(hash.data(), length, in.data(), n, key.empty() ? nullptr : key.data(), key.size());
        of_hashes.update(hash);
      }
  EXPECT_EQ(of_hashes.hex(), "c23a7800d98123bd10f506c61e29da5603d763b8bbad2e737f5e765a7bccd475");
}

TEST(Blake2b256, CutsDoNotMatter) {
  const std::vector<uint8_t> bytes = testing::random_bytes(1000, 4);
  for (size_t n : {0, 1, 3, 127, 128, 129, 255, 256, 1000})
    for (size_t step : {1, 7, 64, 128, 1000}) {
      Blake2b256 h, whole;
      for (size_t at = 0; at < n; at += step) h.update(std::span(bytes).subspan(at, std::min(step, n - at)));
      whole.update(std::span(bytes).first(n));
      EXPECT_EQ(h.digest(), whole.digest());
      EXPECT_EQ(h.digest(), whole.digest()) << "asking does not end the message";
    }
}

}  // namespace
}  // namespace fathom
