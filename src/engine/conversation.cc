#include "engine/conversation.h"

namespace fathom {
namespace {

json::object tool_call_json(const ToolCall& call, bool as_object) {
  json::value arguments = json::string(call.arguments);
  if (as_object) {
    json::error_code ec;
    json::value parsed = json::parse(call.arguments, ec);
    if (!ec) arguments = std::move(parsed);
  }
  return {{"type", "function"}, {"function", {{"name", call.name}, {"arguments", arguments}}}};
}

json::object message_json(const Message& message, bool argument_objects) {
  json::object out = {{"role", message.role}, {"content", message.content}};
  if (!message.thinking.empty()) out["reasoning_content"] = message.thinking;
  if (message.tool_calls.empty()) return out;
  json::array calls;
  for (const ToolCall& call : message.tool_calls) calls.push_back(tool_call_json(call, argument_objects));
  out["tool_calls"] = std::move(calls);
  if (message.content.empty()) out["content"] = nullptr;
  return out;
}

std::string token_text(const Tokenizer& tokenizer, const std::optional<TokenId>& id) {
  return id ? tokenizer.token_bytes(*id) : std::string();
}

}  // namespace

std::vector<TextPiece> render_prompt(const Engine& engine, const json::array& messages, const json::array& tools,
                                     bool add_generation_prompt, const json::object& extra) {
  const TokenizerSpec& spec = engine.tokenizer().spec();
  RenderOptions options;
  options.messages = messages;
  if (!tools.empty()) options.tools = tools;
  options.add_generation_prompt = add_generation_prompt;
  options.bos_token = token_text(engine.tokenizer(), spec.bos);
  options.eos_token = token_text(engine.tokenizer(), spec.eos);
  options.extra = extra;
  return engine.chat_template().render(options);
}

std::vector<TextPiece> plain_prompt(const Engine& engine, std::string text) {
  const TokenizerSpec& spec = engine.tokenizer().spec();
  std::vector<TextPiece> pieces;
  if (spec.add_bos && spec.bos) pieces.push_back({engine.tokenizer().token_bytes(*spec.bos), true});
  pieces.push_back({std::move(text), false});
  return pieces;
}

Conversation::Conversation(Engine& engine, ConversationOptions options)
    : engine_(engine), options_(std::move(options)), session_(engine.pool()) {}

void Conversation::set_system(std::string text) {
  if (!messages_.empty() && messages_.front().role == "system") messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), Message{.role = "system", .content = std::move(text)});
}

bool Conversation::drop_answer() {
  if (messages_.empty() || messages_.back().role != "assistant") return false;
  messages_.pop_back();
  return true;
}

bool Conversation::undo() {
  for (size_t i = messages_.size(); i-- > 0;)
    if (messages_[i].role == "user") {
      messages_.resize(i);
      return true;
    }
  return false;
}

bool Conversation::has_thinking_switch() const {
  return engine_.chat_template().mentions("enable_thinking") || engine_.chat_template().mentions("thinking");
}

std::vector<TextPiece> Conversation::prompt() const {
  const bool argument_objects = wants_argument_objects(engine_.chat_template());
  json::array messages;
  for (const Message& m : messages_) messages.push_back(message_json(m, argument_objects));
  json::object extra;
  for (const char* variable : {"enable_thinking", "thinking"})
    if (engine_.chat_template().mentions(variable)) extra[variable] = options_.thinking;
  return render_prompt(engine_, messages, options_.tools, true, extra);
}

size_t Conversation::prompt_tokens() const { return engine_.tokenizer().encode(prompt()).size(); }

Answer Conversation::reply(const AnswerOptions& options, AnswerListener& listener, const std::atomic<bool>* cancel) {
  AnswerRun run(engine_, session_, prompt(), options, listener, cancel);
  Scheduler scheduler(engine_);
  scheduler.add(run);
  while (!run.done()) scheduler.step();
  Answer answer = run.take();
  messages_.push_back({"assistant", answer.text, answer.thinking, answer.tool_calls});
  return answer;
}

}  // namespace fathom
