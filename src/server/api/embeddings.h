// POST /v1/embeddings, as OpenAI's clients send it: texts or token ids -> vectors of length 1, pooled from the model's
// last hidden states. Ollama's /api/embed asks the same of embed().
#pragma once
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "server/api/reading.h"

namespace fathom {

inline constexpr size_t kMostInputs = 2048;

using EmbeddingInputs = std::vector<std::variant<std::string, std::vector<TokenId>>>;

struct EmbeddingRequest {
  std::string model;  ///< as the client names it; empty: the first
  EmbeddingInputs inputs;
  Pooling pooling = Pooling::kLast;
  std::optional<size_t> dimensions;  ///< the first so many numbers, again of length 1
  bool base64 = false;               ///< little-endian f32 instead of a list of numbers
  std::vector<std::string> warnings;
};
/// A text, token ids, or a list of either. Throws ApiError naming `input`.
EmbeddingInputs read_embedding_inputs(const json::value& input);
/// Throws ApiError naming the field.
EmbeddingRequest read_embedding_request(const json::value& body);

/// `each` gets the vector of an input, in any order; `done` all their tokens. On the compute thread.
struct EmbeddingCalls {
  std::function<void(size_t index, const std::vector<float>& vector)> each;
  std::function<void(size_t tokens)> done;
  std::function<void(const ApiError& error)> failed;
};
/// Throws ApiError for inputs that the model cannot take, and as read_prompts.
void embed(ModelHost& host, std::shared_ptr<LoadedModel> model, EmbeddingRequest request,
           const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder, EmbeddingCalls calls);

/// The whole endpoint, once the model is known.
void answer_embeddings(ModelHost& host, std::shared_ptr<LoadedModel> model, EmbeddingRequest request,
                       const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                       const HttpHeaders& headers);

/// The first `dimensions` of `vector` (0: all), scaled to the length 1; a vector of zeros stays.
std::vector<float> unit_vector(std::span<const float> vector, size_t dimensions);
/// [1.5,-2] or "AADAPwAAAMA=".
std::string vector_json(std::span<const float> vector, bool base64);

}  // namespace fathom
