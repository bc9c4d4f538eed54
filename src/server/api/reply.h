// How the answers to one request are written, in one protocol: whole, or as a stream of events. api.cc calls it under
// the request's lock, one call at a time.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_host.h"
#include "server/api/error.h"
#include "server/http/http.h"

namespace fathom {

/// What every reply knows of its request.
struct ReplyContext {
  std::string id;     ///< random letters and digits, for the protocol's own ids
  int64_t created;    ///< Unix time, s
  std::string model;  ///< as the client named it
  std::shared_ptr<LoadedModel> loaded;
  std::shared_ptr<Responder> responder;
  HttpHeaders headers;        ///< of the answer
  size_t choices = 1, n = 1;  ///< n of them for each prompt
  bool stream = false, include_usage = false, logprobs = false;
  bool prompt_logprobs = false;        ///< in vLLM's form
  size_t prompt_tokens = 0;            ///< of all prompts
  std::vector<TokenId> stop_ids = {};  ///< that the request names
};

/// A token for the protocols that report log-probabilities.
struct ReplyToken {
  TokenId id;
  bool thinking;
  bool forced;  ///< by the budget, or by the form
  TopLogprobs logprobs;
};

class Reply {
 public:
  explicit Reply(ReplyContext context) : context_(std::move(context)) {}
  virtual ~Reply() = default;
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  /// What is sent while there is nothing to say; the protocol's readers skip it.
  virtual std::string heartbeat() const;
  /// All choices are in line: a stream begins.
  virtual void begin() {}
  // ---- a stream's events; whole replies have no use for them
  /// Of a prompt that takes several steps: so many of the tokens that the cache does not hold are read.
  virtual void prompt(size_t /*choice*/, size_t /*done*/, size_t /*total*/) {}
  virtual void token(size_t /*choice*/, const ReplyToken& /*token*/) {}
  virtual void thinking(size_t /*choice*/, std::string_view /*text*/) {}
  virtual void text(size_t /*choice*/, std::string_view /*text*/) {}
  virtual void tool_call(size_t /*choice*/, size_t /*index*/, const ToolCall& /*call*/) {}
  virtual void done(size_t /*choice*/, const Answer& /*answer*/) {}
  /// All choices are complete.
  virtual void finish(const std::vector<Answer>& answers) = 0;
  /// The request failed, perhaps in the middle of a stream.
  virtual void fail(const ApiError& error) = 0;

 protected:
  const Tokenizer& tokenizer() const { return context_.loaded->engine().tokenizer(); }
  ReplyContext context_;
};

/// "length", "stop", ... as OpenAI's API says it.
std::string openai_finish_reason(FinishReason reason);
/// {prompt_tokens, completion_tokens, ...} of all choices, n for each prompt, with OpenAI's and DeepSeek's names for
/// the cached ones.
json::object openai_usage(const std::vector<Answer>& answers, size_t n = 1);
/// {"error": {message, type, param, code}}
json::object openai_error(const ApiError& error);
/// The error as a whole answer.
void send_error(Responder& responder, const ApiError& error);
/// The text of a token for JSON: characters that it cuts become U+FFFD; and its bytes.
json::object token_json(const Tokenizer& tokenizer, TokenId id, float logprob);

/// The arguments of a call as an object; {} where they are no JSON object.
json::object arguments_object(const ToolCall& call);

std::unique_ptr<Reply> make_chat_reply(ReplyContext context);
/// `prompts`: the prompts' texts, in front of the texts where the request wants an echo; else empty.
std::unique_ptr<Reply> make_completion_reply(ReplyContext context, std::vector<std::string> prompts);

}  // namespace fathom
