// OpenAI's POST /v1/responses -> GenerateRequest: its items become the messages of a chat, its fields those of a chat
// completion, which openai_request.h reads with all that other servers add. Pure functions.
// Source: spec/api.md 2 and the official client's types.
#pragma once
#include <functional>

#include "server/api/error.h"
#include "server/api/request.h"

namespace fathom {

/// Where earlier answers are found; each throws ApiError where one is not kept.
struct EarlierItems {
  /// All items of a conversation up to and with a response.
  std::function<json::array(const std::string& response_id)> conversation;
  std::function<json::value(const std::string& item_id)> item;
};

struct ResponsesRequest {
  GenerateRequest generate;
  bool store = false, background = false;
  std::string previous_id;  ///< empty: a new conversation
  json::array input;        ///< this request's items, those without a type or as a string made whole
  json::object echo;        ///< the fields that the answer repeats
};

/// `stateless`: nothing is stored, as on DeepSeek's path. Throws ApiError naming the field.
ResponsesRequest read_responses_request(const json::value& body, const EarlierItems& earlier, bool stateless);

/// An error of the chat's reading or of generate() with the names that its fields have here.
ApiError in_responses_words(const ApiError& error);

}  // namespace fathom
