// OpenAI's and DeepSeek's requests -> GenerateRequest, with the fields that llama-server and vLLM add. Pure functions.
// Sources: spec/api.md 1, 2 and 6. Each throws ApiError naming the field.
#pragma once
#include "server/api/request.h"

namespace fathom {

struct OpenAiDialect {
  bool beta = false;    ///< DeepSeek's /beta: prefix completion, strict tools
  bool strict = false;  ///< DeepSeek's refusals are reproduced (--deepseek-strict)
};

GenerateRequest read_chat_request(const json::value& body, const OpenAiDialect& dialect);
/// A request with a list of prompts stands for as many; form, salt and warnings, the same for all, are the first one's.
std::vector<GenerateRequest> read_completion_requests(const json::value& body);

}  // namespace fathom
