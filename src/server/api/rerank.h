// POST /rerank: how well documents answer a query, by a question to the model: the probability of "yes" against "no" as
// its first word. No other model is needed; it is as good a judge as the model is.
#pragma once
#include <string>
#include <vector>

#include "server/api/reading.h"

namespace fathom {

struct RerankRequest {
  std::string model;  ///< as the client names it; empty: the first
  std::string query;
  std::vector<std::string> documents;
  size_t top_n = 0;  ///< at most all of them
  bool return_documents = false;
  std::vector<std::string> warnings;
};
inline constexpr size_t kMostDocuments = 1024;

/// Throws ApiError naming the field.
RerankRequest read_rerank_request(const json::value& body);

/// The whole endpoint, once the model is known: {model, results: [{index, relevance_score}], usage}, the best first.
/// Throws ApiError for documents that the model cannot take, and as read_prompts.
void answer_rerank(ModelHost& host, std::shared_ptr<LoadedModel> model, RerankRequest request,
                   const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                   const HttpHeaders& headers);

}  // namespace fathom
