#include "server/http/inflate.h"

#include <zlib.h>

#include <algorithm>

#include "server/http/target.h"

namespace fathom::http {

namespace {
bool is_gzip(std::string_view coding) { return same_letters(coding, "gzip") || same_letters(coding, "x-gzip"); }
}  // namespace

bool is_compressed(std::string_view coding) {
  if (coding.empty() || same_letters(coding, "identity")) return false;
  if (!is_gzip(coding) && !same_letters(coding, "deflate"))
    throw Refused(415, "the header Content-Encoding: expected gzip, deflate or identity");
  return true;
}

struct Inflater::Stream {
  z_stream z{};
  std::string compressed, out;
  size_t most_bytes;
  ~Stream() { inflateEnd(&z); }
};

Inflater::Inflater(std::string_view coding, std::string compressed, size_t most_bytes) {
  check(is_compressed(coding), "a body that is not compressed");
  stream_ = std::make_unique<Stream>();
  stream_->compressed = std::move(compressed);
  stream_->most_bytes = most_bytes;
  z_stream& z = stream_->z;
  check(stream_->compressed.size() <= UINT32_MAX, "a compressed body of more than 4 GiB");
  z.next_in = reinterpret_cast<Bytef*>(stream_->compressed.data());
  z.avail_in = static_cast<uInt>(stream_->compressed.size());
  if (inflateInit2(&z, is_gzip(coding) ? 16 + MAX_WBITS : MAX_WBITS) != Z_OK)
    throw Refused(503, "no memory to decompress the body");
}

Inflater::~Inflater() = default;
Inflater::Inflater(Inflater&&) noexcept = default;

bool Inflater::step(size_t bytes) {
  Stream& s = *stream_;
  const size_t before = s.out.size();
  // One byte more than allowed tells a body that is too long from one that just fits.
  const size_t room = std::min({bytes, s.most_bytes + 1 - before, size_t{1} << 30});
  s.out.resize(before + room);
  s.z.next_out = reinterpret_cast<Bytef*>(s.out.data() + before);
  s.z.avail_out = static_cast<uInt>(room);
  const int status = inflate(&s.z, Z_NO_FLUSH);
  s.out.resize(before + room - s.z.avail_out);
  if (s.out.size() > s.most_bytes)
    throw Refused(413, cat("the body: expected at most ", s.most_bytes, " bytes when decompressed"));
  if (status == Z_STREAM_END) {
    if (s.z.avail_in != 0) throw Refused(400, "the body: goes on behind the end of the compressed data");
    return true;
  }
  if (status != Z_OK || (s.z.avail_in == 0 && s.z.avail_out != 0))
    throw Refused(400, cat("the body: broken compressed data", s.z.msg ? cat(" (", s.z.msg, ")") : ""));
  return false;
}

size_t Inflater::bytes() const { return stream_->compressed.size() + stream_->out.size(); }
std::string Inflater::take() { return std::move(stream_->out); }

}  // namespace fathom::http
