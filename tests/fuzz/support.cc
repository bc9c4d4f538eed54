#include "tests/fuzz/support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dequantize.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace fathom::fuzz {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMostValues = 1 << 12, kMostTokens = 1 << 12;

void write_all(int fd, std::string_view bytes) {
  check(::ftruncate(fd, static_cast<off_t>(bytes.size())) == 0, "cannot resize a file in memory");
  check(::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
        "cannot write a file in memory");
}

}  // namespace

std::pair<std::string_view, std::string_view> two_parts(std::string_view input) {
  const std::string line = "\n" + std::string(kPartBreak) + "\n";
  const size_t at = input.find(line);
  if (at == std::string_view::npos) return {input, {}};
  return {input.substr(0, at), input.substr(at + line.size())};
}

const fs::path& file_with(std::string_view bytes) {
  static const int fd = ::memfd_create("fuzz input", MFD_CLOEXEC);
  check(fd >= 0, "cannot make a file in memory");
  static const fs::path path = "/proc/self/fd/" + std::to_string(fd);
  write_all(fd, bytes);
  return path;
}

const fs::path& scratch_folder() {
  struct Folder {
    fs::path path;
    Folder() {
      std::string pattern = (fs::temp_directory_path() / "fathom-fuzz-XXXXXX").string();
      check(::mkdtemp(pattern.data()) != nullptr, "cannot make a temporary folder");
      path = pattern;
    }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  return folder.path;
}

void write_file(const fs::path& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  check(fd >= 0, "cannot open a file of the scratch folder");
  write_all(fd, bytes);
  ::close(fd);
}

void dequantize_small(const Tensor& tensor) {
  if (tensor.count() > kMostValues || !can_dequantize(tensor.dtype())) return;
  const Tensor values = dequantize(tensor);
  check(values.count() == tensor.count(), "dequantising changed the number of values");
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.size_bytes() == b.size_bytes() &&
         (a.size_bytes() == 0 || std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0);
}

void exercise(TokenizerSpec spec) {
  if (spec.tokens.size() > kMostTokens) return;
  constexpr std::array<std::string_view, 3> kTexts = {
      "Hello, world! 12345 it's\r\n\r\n  \t3.14 ", "<s>\xE4\xBD\xA0\xE5\xA5\xBD \xC3\xA9\xCC\x81 \xF0\x9F\x98\x80</s>",
      "\xFF\xC0\x80 <|im_end|><think>\n"};
  const Tokenizer tokenizer(std::move(spec));
  for (const std::string_view text : kTexts)
    for (const bool special : {false, true}) {
      const std::vector<TokenId> ids = tokenizer.encode(text, {special, special});
      StreamDetokenizer stream(tokenizer);
      std::string streamed;
      for (const TokenId id : ids) {
        check(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size(), "an id outside the vocabulary");
        streamed += stream.feed(id);
      }
      check(streamed + stream.flush() == tokenizer.decode(ids), "decoding in pieces differs from decoding at once");
    }
}

}  // namespace fathom::fuzz
