#include "server/keys/key_ring.h"

#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

namespace fathom {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 20;

/// What is wrong with a key; "": nothing. Never has the key in it.
std::string flaw(const std::string& key) {
  if (key.size() < KeyRing::kLeastLength || key.size() > KeyRing::kMostLength)
    return cat("expected a key of ", KeyRing::kLeastLength, " to ", KeyRing::kMostLength, " characters, found one of ",
               key.size());
  if (!std::ranges::all_of(key, [](char c) { return c > ' ' && c <= '~'; }))
    return "expected a key of printable ASCII characters without spaces";
  return "";
}

bool sane_name(const std::string& name) {
  return name.size() <= 64 && std::ranges::all_of(name, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
                  c == '-';
         });
}

struct stat info_of(const std::filesystem::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0)
    throw Error(cat(file.string(), ": expected a file of keys, found: ", std::strerror(errno)));
  if (!S_ISREG(info.st_mode)) throw Error(cat(file.string(), ": expected a file of keys, found something else"));
  return info;
}

}  // namespace

KeyRing::KeyRing(std::filesystem::path file, const std::string& single, const std::string& single_name)
    : file_(std::move(file)) {
  check(sodium_init() >= 0, "libsodium did not start");
  if (!single.empty()) {
    if (const std::string wrong = flaw(single); !wrong.empty()) throw Error(cat(single_name, ": ", wrong));
    single_ = Key{single_name, digest_of(single)};
    keys_ = {*single_};
  }
  if (!file_.empty()) read(info_of(file_));
}

KeyRing::Digest KeyRing::digest_of(std::string_view text) {
  Blake2b256 hash;
  hash.update(text);
  return hash.digest();
}

/// Throws Error, and leaves the keys as they are.
void KeyRing::read(const struct stat& info) {
  const std::string where = file_.string();
  std::string note;
  if ((info.st_mode & 077) != 0) {
    const std::string open = cat("others may read or change it (mode ", std::oct, info.st_mode & 0777, std::dec, ")");
    if (info.st_uid == ::geteuid())
      throw Error(
          cat(where, ": expected a file of keys for its owner alone, found that ", open, "; chmod 600 closes it"));
    if ((info.st_mode & 007) != 0) note = cat(where, ": ", open);  // not ours to close
  }
  std::istringstream lines(read_text_file(file_, kMostBytes));
  std::vector<Key> keys;
  if (single_) keys.push_back(*single_);
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string name, key, more;
    words >> name >> key >> more;
    if (name.empty() || name.front() == '#') continue;
    const std::string at = cat(where, ":", number, ": ");
    if (!more.empty()) throw Error(cat(at, "expected a key, perhaps behind a name, found more words"));
    if (key.empty())
      key = std::exchange(name, cat("line ", number));
    else if (!sane_name(name))
      throw Error(cat(at, "expected a name of at most 64 letters, digits, '.', '_' and '-'"));
    if (const std::string wrong = flaw(key); !wrong.empty()) throw Error(cat(at, wrong));
    const Digest digest = digest_of(key);
    if (std::ranges::find(keys, digest, &Key::digest) != keys.end()) throw Error(cat(at, "expected each key once"));
    if (keys.size() == kMostKeys) throw Error(cat(at, "expected at most ", kMostKeys, " keys"));
    keys.push_back({name, digest});
  }
  if (keys.size() == (single_ ? 1 : 0)) throw Error(cat(where, ": expected a key, found none"));
  keys_ = std::move(keys);
  note_ = std::move(note);
  seen_ = info;
}

bool KeyRing::same_file(const struct stat& info) const {
  return info.st_dev == seen_.st_dev && info.st_ino == seen_.st_ino && info.st_size == seen_.st_size &&
         info.st_mode == seen_.st_mode && info.st_mtim.tv_sec == seen_.st_mtim.tv_sec &&
         info.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec && info.st_ctim.tv_sec == seen_.st_ctim.tv_sec &&
         info.st_ctim.tv_nsec == seen_.st_ctim.tv_nsec;
}

bool KeyRing::refresh() {
  if (file_.empty()) return false;
  struct stat info {};
  if (::stat(file_.c_str(), &info) == 0 && same_file(info)) return false;
  try {
    read(info_of(file_));
    log(LogLevel::kWarning, cat("the keys have been read anew: ", keys_.size(), " of ", file_.string()));
    return true;
  } catch (const Error& e) {
    if (!same_file(info)) log(LogLevel::kError, cat(e.what(), " (the keys stay as they were)"));
    seen_ = info;  // said once for each state of the file
    return false;
  }
}

const KeyRing::Key* KeyRing::find(std::string_view text) const {
  const Digest digest = digest_of(text);
  const Key* found = nullptr;
  for (const Key& key : keys_)
    if (sodium_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;  // on to the end
  return found;
}

}  // namespace fathom
