// The app's routes that show what a model is given and gives: the exact prompt of an answer, how many tokens one would
// have, and the tokens of an answer with their probabilities.
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/app/answer_tokens.h"
#include "server/app/app_api.h"
#include "server/app/app_request.h"
#include "server/app/file_text.h"

namespace fathom {

AppApi::Answer AppApi::message_prompt(Call& call) {
  const AppMessage message = store_.message(call.ids[0]);
  if (message.asked.empty())
    throw ApiError(400, "the prompt: expected an answer that this server has made, found another message");
  const PreparedAnswer answer = answers_.prepare(store_.branch(message.parent), message);
  const Engine& engine = answer.model->engine();
  const std::vector<TextPiece> prompt = prompt_text(engine, answer.request);
  return json::object{{"prompt", joined(prompt)}, {"tokens", engine.tokenizer().encode(prompt).size()}};
}

AppApi::Answer AppApi::message_tokens(Call& call) { return answer_tokens_json(store_.tokens(call.ids[0])); }

AppApi::Answer AppApi::count_tokens(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  AppMessage answer;
  std::string system = read_text(f, "system", kMostSystem).value_or("");
  json::object settings;
  std::vector<AppMessage> branch;
  const std::optional<std::string> parent = read_text(f, "parent", kMostId);
  if (const auto id = read_text(f, "chat", kMostId)) {
    const AppChat chat = store_.chat(*id);
    system = chat.system, settings = chat.settings;
    if (parent) branch = store_.branch(*parent);
    if (parent && branch.back().chat != chat.id)
      throw wrong_field("parent", cat("parent: expected a message of this chat, found '", *parent, "'"));
  }
  if (const auto model = f.string("model")) settings["model"] = *model;
  AppMessage next;
  next.role = "user";
  next.content = read_text(f, "content", kMostContent).value_or("");
  refuse_left_over(f);
  branch.push_back(std::move(next));
  answer.asked = asked_json(system, settings, 0, 0);
  const PreparedAnswer prepared = answers_.prepare(branch, answer);
  const Engine& engine = prepared.model->engine();
  const size_t tokens = engine.tokenizer().encode(prompt_text(engine, prepared.request)).size();
  return json::object{{"tokens", tokens}, {"ctx", engine.info().ctx}};
}

AppApi::Answer AppApi::file_as_text(Call& call) {
  const std::string name = call.query("name").value_or("");
  if (name.empty() || name.size() > kMostTitle)
    throw wrong_field("name", cat("name: expected the file's name in the query, of at most ", kMostTitle, " bytes"));
  const std::string text = file_text(name, call.request.body);
  std::optional<bool> thinking;
  const std::shared_ptr<LoadedModel> model = find_model_(call.query("model").value_or(""), thinking);
  return json::object{{"name", name}, {"text", text}, {"tokens", model->engine().tokenizer().encode(text).size()}};
}

}  // namespace fathom
