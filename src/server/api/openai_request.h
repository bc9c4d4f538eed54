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

/// Messages in OpenAI's form as ChatPrompt wants them: content as text, developer as system. `param`: their path.
json::array read_messages(const json::value& messages, const std::string& param);
/// A list of parts {type: text, input_text or output_text, text} as one text.
std::string text_of_parts(const json::array& parts, const std::string& param);
/// Checks {type: function, function: {name, description, parameters}}.
json::array read_tools(const json::array& tools, const std::string& param);

}  // namespace fathom
