// Request bodies with Content-Encoding gzip or deflate, decompressed in steps, so that a large one does not hold the
// I/O thread, and never beyond a bound (R11). One thread. Called by connection.cc. Source: RFC 9110 section 8.4.1.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace fathom::http {

class Inflater {
 public:
  /// `coding` is a Content-Encoding. Throws Refused (415) unless it is gzip, x-gzip or deflate (the zlib format).
  Inflater(std::string_view coding, std::string compressed, size_t most_bytes);
  ~Inflater();
  Inflater(Inflater&&) noexcept;

  /// Decompresses about `bytes` more; true when all is done. Throws Refused: 400 if the data is broken, cut off, or
  /// goes on behind its end; 413 if the result has more than most_bytes.
  bool step(size_t bytes);
  /// The memory that data and result take.
  size_t bytes() const;
  /// The result, after step() returned true.
  std::string take();

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

/// Whether a body with this Content-Encoding must be decompressed; not where it is empty or identity. Throws Refused
/// (415) where Inflater would.
bool is_compressed(std::string_view coding);

}  // namespace fathom::http
