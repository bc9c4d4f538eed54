// Anthropic's clients send a turn's thinking back while its tools run, with the signature that came with it. Ours is an
// authentication code over the text: thinking that comes back is known to be the model's own, unaltered. Values; any
// thread.
#pragma once
#include <array>
#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

class ThinkingSignature {
 public:
  /// With a key that only this process knows.
  ThinkingSignature();
  /// With the key that `file` holds, so that conversations outlive the server and may go on at another that shares the
  /// file; it is made, for this user alone, where there is none. Throws Error naming the file if it is no such key, or
  /// cannot be read or made.
  explicit ThinkingSignature(const std::filesystem::path& file);

  /// HMAC-SHA-512/256 of the text, in base64.
  std::string sign(std::string_view thinking) const;
  bool holds(std::string_view thinking, std::string_view signature) const;

 private:
  std::array<unsigned char, 32> key_;
};

}  // namespace fathom
