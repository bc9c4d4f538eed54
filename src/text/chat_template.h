// Chat templates: messages -> the prompt's text, in pieces that know what the template wrote and what came from outside
// (text/text_piece.h). The language is Jinja2 as publishers use it (spec/tokenizers.md 4 and 5); the interpreter is in
// text/jinja/. Called by engine/ for every conversation and by `fathom render`. A ChatTemplate is immutable: any number
// of threads may render with it at once. Templates come from model files and so are hostile: time, memory, recursion
// and output are bounded.
#pragma once
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/text_piece.h"

namespace fathom {

namespace jinja {
struct Template;
}

/// What one rendering may use before it ends in a ResourceError.
struct RenderLimits {
  uint64_t steps = 20'000'000;                 ///< expressions evaluated, elements compared, ... (20 to 100 ns each)
  uint64_t bytes = uint64_t{512} << 20;        ///< of all values made on the way, freed ones included
  uint64_t output_bytes = uint64_t{64} << 20;  ///< of the prompt
};

/// What strftime_now reads; null: the local time.
using RenderClock = std::function<std::tm()>;

/// The usual variables of a chat template.
struct RenderOptions {
  json::array messages;
  json::value tools;  ///< null: none, as transformers passes it
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;  ///< the tokens' texts; they are trusted
  json::object extra;                ///< more variables, such as enable_thinking; may not name one of the above
};

class ChatTemplate {
 public:
  /// Throws Error naming the line, what was expected and what was found.
  explicit ChatTemplate(std::string source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The prompt. All variables are untrusted except bos_token, eos_token, pad_token and unk_token: never let a request
  /// set those. Neighbouring pieces differ in trust; none is empty.
  /// Throws Error naming the line where the template fails or refuses (raise_exception), ResourceError at a limit.
  std::vector<TextPiece> render(const json::object& variables, const RenderLimits& limits = {},
                                RenderClock clock = nullptr) const;
  /// As above. Throws Error if `extra` names a variable that has its own field or a special token.
  std::vector<TextPiece> render(const RenderOptions& options, const RenderLimits& limits = {},
                                RenderClock clock = nullptr) const;

  /// True if the template reads a variable of that name anywhere: mentions("enable_thinking").
  bool mentions(std::string_view variable) const;
  const std::string& source() const { return source_; }

 private:
  std::string source_;
  std::unique_ptr<const jinja::Template> template_;
};

/// The pieces as one string.
std::string joined(const std::vector<TextPiece>& pieces);

}  // namespace fathom
