// Ollama's requests -> GenerateRequest, because editors look for them. Sources: spec/api.md 5; the types of Ollama's
// own client. Pure functions. Each throws ApiError naming the field.
//
//   - Streams are the default. keep_alive means nothing, for models stay until their memory is needed, but for 0 in a
//     request without a prompt or messages, which unloads the model.
//   - `options` that are not about the answer (num_ctx, num_gpu, num_thread, ...) are named in the warning header: how
//     the server runs is the server's. num_predict -1 and -2: what the context leaves.
//   - Any other request without a prompt or messages only loads the model.
#pragma once
#include "server/api/embeddings.h"
#include "server/api/request.h"

namespace fathom {

struct OllamaRequest {
  GenerateRequest generate;
  bool only_load = false;  ///< no answer is wanted
  bool unload = false;     ///< after the answer, or instead of loading it
};

OllamaRequest read_ollama_chat(const json::value& body);
OllamaRequest read_ollama_generate(const json::value& body);

/// /api/embed. Nothing is cut off, so that `truncate: true` has no effect and is named in the warning header.
EmbeddingRequest read_ollama_embed(const json::value& body);

/// The name without Ollama's default tag: "x:latest" is "x".
std::string ollama_model(std::string name);

}  // namespace fathom
