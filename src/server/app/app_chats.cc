// The app's routes for chats and messages.
#include <charconv>

#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/app/app_api.h"
#include "server/app/app_request.h"

namespace fathom {
namespace {

/// As read_text, but null is "", for none.
std::optional<std::string> read_or_none(Fields& f, std::string_view key, size_t most, const json::value& body) {
  std::optional<std::string> text = read_text(f, key, most);
  if (!text && body.as_object().contains(key)) text = "";
  return text;
}

ChatChange read_change(Fields& f, const json::value& body) {
  ChatChange change;
  change.title = read_text(f, "title", kMostTitle);
  change.folder = read_or_none(f, "folder", kMostId, body);
  change.system = read_or_none(f, "system", kMostSystem, body);
  if (const json::value* settings = f.any("settings")) change.settings = read_chat_settings(*settings, "settings");
  if (const json::array* tags = f.array("tags")) change.tags = read_tags(*tags, "tags");
  change.pinned = f.boolean("pinned");
  change.archived = f.boolean("archived");
  return change;
}

}  // namespace

AppApi::Answer AppApi::list_chats(Call& call) {
  ChatQuery query;
  query.archived = call.flag("archived");
  query.folder = call.query("folder");
  query.limit = static_cast<size_t>(call.number("limit", 200, 1, 1000));
  if (call.query("before")) query.before = call.number("before", 0, 0, INT64_MAX);
  const ChatPage page = store_.chats(query);
  json::array chats;
  for (const AppChat& chat : page.chats) chats.push_back(shown(chat));
  return json::object{{"chats", std::move(chats)},
                      {"next", page.next ? json::value(*page.next) : json::value(nullptr)}};
}

AppApi::Answer AppApi::create_chat(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  const ChatChange c = read_change(f, body);
  refuse_left_over(f);
  AppChat chat;
  chat.title = c.title.value_or(""), chat.folder = c.folder.value_or(""), chat.system = c.system.value_or("");
  chat.pinned = c.pinned.value_or(false), chat.archived = c.archived.value_or(false);
  chat.tags = c.tags.value_or(json::array()), chat.settings = c.settings.value_or(json::object());
  chat = store_.create(std::move(chat));
  feed_.tell("chat", chat.id);
  call.status = 201;
  return shown(chat);
}

AppApi::Answer AppApi::get_chat(Call& call) {
  const AppChat chat = store_.chat(call.ids[0]);
  json::object out = shown(chat);
  json::array messages;
  for (const AppMessage& m : store_.messages(chat.id)) messages.push_back(message_json(answers_.current(m)));
  out["messages"] = std::move(messages);
  return out;
}

AppApi::Answer AppApi::change_chat(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  ChatChange change = read_change(f, body);
  change.leaf = read_or_none(f, "leaf", kMostId, body);
  refuse_left_over(f);
  const AppChat chat = store_.change(call.ids[0], change);
  feed_.tell("chat", chat.id);
  return shown(chat);
}

AppApi::Answer AppApi::delete_chat(Call& call) {
  const std::string& id = call.ids[0];
  if (call.flag("for_good"))
    store_.erase(id);
  else
    store_.remove(id);
  answers_.cancel_chat(id);
  feed_.tell("gone", id);
  return json::object{{"deleted", true}};
}

AppApi::Answer AppApi::restore_chat(Call& call) {
  const AppChat chat = store_.restore(call.ids[0]);
  feed_.tell("chat", chat.id);
  return shown(chat);
}

AppApi::Answer AppApi::add_message(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  AppMessage message;
  message.chat = call.ids[0];
  message.parent = read_text(f, "parent", kMostId).value_or("");
  message.role = f.string("role").value_or("");
  if (message.role != "user" && message.role != "assistant" && message.role != "system")
    throw wrong_field("role",
                      cat("role: expected user, assistant or system, found '", message.role.substr(0, 60), "'"));
  const std::optional<std::string> content = read_text(f, "content", kMostContent);
  if (!content) throw wrong_field("content", "content: expected a string, found none");
  message.content = *content;
  message.thinking = read_text(f, "thinking", kMostContent).value_or("");
  if (!message.thinking.empty() && message.role != "assistant")
    throw wrong_field("thinking", "thinking: expected only of the assistant");
  refuse_left_over(f);
  message = store_.add(std::move(message));
  feed_.tell("message", message.id, message.chat);
  feed_.tell("chat", message.chat);
  call.status = 201;
  return message_json(message);
}

AppApi::Answer AppApi::add_answer(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  AnswerWish wish{.chat = call.ids[0]};
  wish.parent = f.string("parent").value_or("");
  if (wish.parent.empty())
    throw wrong_field("parent", "parent: expected the message that is to be answered, found none");
  wish.model = f.string("model").value_or("");
  if (const json::value* settings = f.any("settings")) {
    wish.settings = read_chat_settings(*settings, "settings");
    for (const auto& [key, value] : settings->as_object())
      if (value.is_null()) wish.settings[key] = nullptr;
  }
  if (const json::value* prefix = f.any("prefix")) {
    Fields p(*prefix, "prefix");
    wish.thinking = read_text(p, "thinking", kMostContent).value_or("");
    wish.content = read_text(p, "content", kMostContent).value_or("");
    refuse_left_over(p);
  }
  refuse_left_over(f);
  answers_.start(wish, call.responder);
  return std::nullopt;
}

AppApi::Answer AppApi::watch_message(Call& call) {
  uint64_t from = static_cast<uint64_t>(call.number("from", 0, 0, INT64_MAX));
  // What a browser knows when it comes again by itself.
  if (const auto last = call.request.header("Last-Event-ID"))
    std::from_chars(last->data(), last->data() + last->size(), from);
  answers_.watch(call.ids[0], from, call.responder);
  return std::nullopt;
}

AppApi::Answer AppApi::stop_message(Call& call) { return message_json(answers_.stop(call.ids[0])); }

AppApi::Answer AppApi::hurry_message(Call& call) {
  answers_.answer_now(call.ids[0]);
  return json::object{{"ok", true}};
}

AppApi::Answer AppApi::delete_message(Call& call) {
  const std::string chat = store_.message(call.ids[0]).chat;
  const std::vector<std::string> ids = store_.remove_message(call.ids[0]);
  answers_.forget(ids);
  for (const std::string& id : ids) feed_.tell("gone", id, chat);
  feed_.tell("chat", chat);
  return json::object{{"deleted", true}};
}

}  // namespace fathom
