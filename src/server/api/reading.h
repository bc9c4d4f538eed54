// Prompts that are read and not continued: embeddings, scores. They stand in the same line as the answers, one
// of them always and a window of them where there is room, so that a list of thousands leaves the others their places.
// They are made of their texts, on a worker thread, no sooner than their turn comes: a list of megabytes is not read
// as a whole before its first answer.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "engine/model_host.h"
#include "server/api/error.h"
#include "server/api/generate.h"
#include "server/metrics.h"

namespace fathom {

/// What becomes of the prompts; one call at a time, on the compute thread, so each is quick.
struct ReadingCalls {
  std::function<void(size_t index, const Answer& answer)> each;  ///< in any order
  std::function<void()> done;                                    ///< after the last
  std::function<void(const ApiError& error)> failed;             ///< instead of done; nothing follows
};

/// The prompts of one request. `make` is called for each once, in order, on one thread at a time, not the compute
/// thread; what it throws ends the request.
struct Prompts {
  size_t count;
  std::function<Prompt(size_t index)> make;
};

/// Puts `prompts` in line; `options` has a pooling, or tokens that are scored. If the client goes away, nothing more is
/// computed. What is wrong with the first prompts is thrown, as ModelHost::submit does.
void read_prompts(ModelHost& host, std::shared_ptr<LoadedModel> model, Prompts prompts, AnswerOptions options,
                  Operation operation, const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                  ReadingCalls calls);

}  // namespace fathom
