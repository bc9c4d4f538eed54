// One request that generates, from its meaning to its answers: the model, the prompt's tokens, the choices in line, and
// the events on their way to a Reply. Called on a worker thread; the events come from the compute thread.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_host.h"
#include "sampling/grammar/grammar_cache.h"
#include "server/api/reply.h"
#include "server/api/request.h"
#include "server/api/running.h"
#include "server/api/workers.h"
#include "server/metrics.h"

namespace fathom {

/// What a server adds to what its requests say.
struct GenerateDefaults {
  size_t max_tokens = 8192, max_thinking_tokens = 65536;  ///< new tokens, where a request does not say
  std::optional<uint64_t> seed = {};                      ///< of requests that give none; nullopt: one is drawn
  std::chrono::milliseconds heartbeat{10'000};            ///< while nothing else is written
  std::shared_ptr<GrammarCache> grammars = std::make_shared<GrammarCache>(size_t{256} << 20);
  std::shared_ptr<Metrics> metrics = std::make_shared<Metrics>();
  std::shared_ptr<Workers> workers = {};  ///< the Api's, for what an answer has still to read
};

/// Names what a request has and nobody read, or has no effect.
inline constexpr const char* kIgnoredHeader = "X-Fathom-Ignored";

using MakeReply = std::function<std::unique_ptr<Reply>(ReplyContext)>;

/// Puts `requests` in line as the choices of one answer: those of the first, then those of the next. They agree in all
/// but the prompt. What goes wrong before a stream has begun is thrown: ApiError, or what the engine throws.
/// When the client goes away, the answers are cancelled, unless the request wants to be kept. `running` knows the
/// request by its id.
void generate(ModelHost& host, std::shared_ptr<LoadedModel> model, const std::vector<GenerateRequest>& requests,
              const GenerateDefaults& defaults, std::shared_ptr<Responder> responder, HttpHeaders headers,
              const MakeReply& make_reply, RunningRequests& running);

/// The exact prompt of a request. Throws ApiError.
Prompt prompt_of(const Engine& engine, const GenerateRequest& request);
std::vector<TextPiece> prompt_text(const Engine& engine, const GenerateRequest& request);

/// The grammar of an answer's form; nullopt: any text. Throws ApiError for one that cannot be, or is not taken.
std::optional<Grammar> grammar_of(const AnswerForm& form, GrammarCache& cache);

/// What the answer must consist of: calls of tools that are required or strict, or a form; null: any text.
std::shared_ptr<const AnswerPlan> plan_of(const Engine& engine, const GenerateRequest& request, GrammarCache& cache);

/// Whether the model has tokens for filling a gap, for requests with a suffix.
bool can_fill_gaps(const Engine& engine);

/// 24 random letters and digits.
std::string random_id();

}  // namespace fathom
