#include "cli/chat_file.h"

#include <algorithm>

#include "base/error.h"
#include "formats/atomic_file.h"

namespace fathom {
namespace {

json::object message_json(const Message& message) {
  json::object out{{"role", message.role}, {"content", message.content}};
  if (!message.thinking.empty()) out["thinking"] = message.thinking;
  json::array calls;
  for (const ToolCall& call : message.tool_calls) calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
  if (!calls.empty()) out["tool_calls"] = std::move(calls);
  return out;
}

Message message_from(const json::value& value, const std::string& what) {
  const JsonObject object(value, what);
  Message message{object.string("role"), object.string("content"), object.string_or("thinking", ""), {}};
  for (const char* role : {"system", "user", "assistant", "tool"})
    if (message.role == role) {
      if (object.has("tool_calls"))
        for (const json::value& call : object.array("tool_calls")) {
          const JsonObject fields(call, what + ": tool_calls");
          message.tool_calls.push_back({.name = fields.string("name"), .arguments = fields.string("arguments")});
        }
      return message;
    }
  throw Error(cat(what, ": role: expected system, user, assistant or tool, found '", message.role, "'"));
}

}  // namespace

void save_chat(const std::filesystem::path& path, const std::string& model, const std::vector<Message>& messages) {
  json::array list;
  for (const Message& message : messages) list.push_back(message_json(message));
  const json::object root{{"format", "fathom.chat"}, {"version", 1}, {"model", model}, {"messages", std::move(list)}};
  const std::string text = to_json(root, {.indent = 2}) + "\n";
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::vector<Message> load_chat(const std::filesystem::path& path) {
  const json::value root = read_json_file(path);
  const JsonObject object(root, path.string());
  const std::string format = object.string("format");
  if (format != "fathom.chat") throw Error(cat(path.string(), ": format: expected fathom.chat, found '", format, "'"));
  if (const int64_t version = object.integer("version"); version != 1)
    throw Error(cat(path.string(), ": version: expected 1, found ", version));
  std::vector<Message> messages;
  for (const json::value& value : object.array("messages"))
    messages.push_back(message_from(value, cat(path.string(), ": message ", messages.size())));
  return messages;
}

bool drop_oldest_exchange(std::vector<Message>& messages) {
  const auto is_user = [](const Message& message) { return message.role == "user"; };
  const auto first = std::find_if(messages.begin(), messages.end(), is_user);
  if (first == messages.end()) return false;
  const auto second = std::find_if(first + 1, messages.end(), is_user);
  if (second == messages.end()) return false;
  messages.erase(first, second);
  return true;
}

}  // namespace fathom
