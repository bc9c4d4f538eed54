#include "server/api/thinking_signature.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

void start_sodium() {
  static const bool ready = sodium_init() >= 0;
  check(ready, "libsodium did not start");
}

/// Written aside and linked into its place: of two servers that start together, one makes the key and both read it.
void make_key_file(const std::filesystem::path& file, std::string_view key) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  const std::string aside = cat(file.string(), ".", getpid());
  const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool ok = fd >= 0 && ::write(fd, key.data(), key.size()) == static_cast<ssize_t>(key.size());
  if (fd >= 0) ok = ::fsync(fd) == 0 && ok, ok = ::close(fd) == 0 && ok;
  ok = ok && (::link(aside.c_str(), file.c_str()) == 0 || errno == EEXIST);
  const int why = errno;
  ::unlink(aside.c_str());
  if (!ok)
    throw Error(
        cat(file.string(), ": the key of signatures cannot be written: ", std::generic_category().message(why)));
}

}  // namespace

ThinkingSignature::ThinkingSignature() {
  start_sodium();
  static_assert(sizeof key_ == crypto_auth_KEYBYTES);
  randombytes_buf(key_.data(), key_.size());
}

ThinkingSignature::ThinkingSignature(const std::filesystem::path& file) : ThinkingSignature() {
  if (!std::filesystem::exists(file)) make_key_file(file, {reinterpret_cast<const char*>(key_.data()), key_.size()});
  const std::string kept = read_text_file(file, 1024);
  if (kept.size() != key_.size())
    throw Error(cat(file.string(), ": expected a key of ", key_.size(), " bytes, found ", kept.size(),
                    "; without the file a new key is made"));
  std::ranges::copy(kept, key_.begin());
}

std::string ThinkingSignature::sign(std::string_view thinking) const {
  std::array<unsigned char, crypto_auth_BYTES> code;
  crypto_auth(code.data(), reinterpret_cast<const unsigned char*>(thinking.data()), thinking.size(), key_.data());
  std::array<char, sodium_base64_ENCODED_LEN(crypto_auth_BYTES, sodium_base64_VARIANT_ORIGINAL)> text;
  sodium_bin2base64(text.data(), text.size(), code.data(), code.size(), sodium_base64_VARIANT_ORIGINAL);
  return text.data();
}

bool ThinkingSignature::holds(std::string_view thinking, std::string_view signature) const {
  const std::string own = sign(thinking);
  return own.size() == signature.size() && sodium_memcmp(own.data(), signature.data(), own.size()) == 0;
}

}  // namespace fathom
