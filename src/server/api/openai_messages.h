// Messages and tools in OpenAI's form, from requests of every protocol that has them so. Pure functions. Sources:
// spec/api.md 1 and 2. Each throws ApiError naming the field, and adds to `warnings` the paths of what it does not
// know.
#pragma once
#include <string>
#include <vector>

#include "server/api/request.h"

namespace fathom {

/// Messages as ChatPrompt wants them: content as text, developer as system. `param`: their path.
json::array read_messages(const json::value& messages, const std::string& param, std::vector<std::string>& warnings);
/// Checks {type: function, function: {name, description, parameters}}.
json::array read_tools(const json::array& tools, const std::string& param, std::vector<std::string>& warnings);

/// A list of parts {type: text, input_text or output_text, text} as one text.
std::string text_of_parts(const json::array& parts, const std::string& param, std::vector<std::string>& warnings);

}  // namespace fathom
