#include "train/chat_data.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/mapped_file.h"
#include "train/chat_turn.h"
#include "train/json_lines.h"

namespace fathom {
namespace {

void append(Sample& sample, std::span<const TokenId> ids, uint8_t counts) {
  sample.ids.insert(sample.ids.end(), ids.begin(), ids.end());
  sample.counts.insert(sample.counts.end(), ids.size(), counts);
}

class Reader {
 public:
  Reader(const Tokenizer& tokenizer, const ChatTemplate* chat, const ChatDataOptions& options)
      : tokenizer_(tokenizer), options_(options) {
    if (chat) encoder_.emplace(tokenizer, *chat, options.clock);
  }

  void add(const JsonObject& line) {
    ++data_.lines;
    const json::value *prompt = line.find("prompt"), *completion = line.find("completion");
    if (line.has("messages")) {
      add_conversation(line, {}, line.array("messages"));
    } else if (prompt && completion && prompt->is_array()) {
      add_conversation(line, line.array("prompt"), line.array("completion"));
    } else if (prompt && completion) {
      add_completion(line, line.string("prompt"), line.string("completion"));
    } else if (line.has("text")) {
      add_completion(line, "", line.string("text"));
    } else {
      std::string keys;
      for (const auto& [key, value] : line.raw()) keys += cat(keys.empty() ? "" : ", ", key);
      throw Error(cat(line.what(), ": expected messages, prompt and completion, or text, found ",
                      keys.empty() ? "nothing" : keys.substr(0, 200)));
    }
  }

  ChatData take() { return std::move(data_); }

 private:
  void add_completion(const JsonObject& line, const std::string& prompt, const std::string& completion) {
    for (const std::string* text : {&prompt, &completion})
      if (tokenizer_.encode(*text, {.parse_special = true}) != tokenizer_.encode(*text)) ++data_.literal_tokens;
    if (!tokenizer_.spec().eos) ++data_.without_end;
    ++data_.turns;
    keep(line, completion_sample(tokenizer_, prompt, completion));
  }

  void add_conversation(const JsonObject& line, const json::array& context, const json::array& learned) {
    if (!encoder_) throw Error(cat(line.what(), ": expected a model with a chat template for messages, found none"));
    std::vector<ChatMessage> messages;
    for (const json::value& value : context) messages.push_back(message(line, value, "prompt", messages.size()));
    const char* list = line.has("messages") ? "messages" : "completion";
    for (const json::value& value : learned)
      messages.push_back(message(line, value, list, messages.size() - context.size()));
    const json::array tools = line.has("tools") ? line.array("tools") : json::array();
    Sample sample;
    for (size_t i = context.size(); i < messages.size(); ++i) {
      if (!messages[i].is_assistant()) continue;
      const ChatTurn turn = encode_turn(line, {messages.data(), i + 1}, tools);
      const std::span<const TokenId> prompt = turn.prompt;
      const bool continued =
          prompt.size() >= sample.ids.size() && std::equal(sample.ids.begin(), sample.ids.end(), prompt.begin());
      if (!continued) keep(line, std::exchange(sample, {}));
      append(sample, prompt.subspan(sample.ids.size()), 0);
      append(sample, turn.completion, 1);
      ++data_.turns;
      data_.without_prefill += turn.without_prefill ? 1 : 0;
      data_.without_end += turn.without_end ? 1 : 0;
    }
    if (sample.ids.empty())
      throw Error(cat(line.what(), ": expected an assistant's message to learn from, found none"));
    keep(line, std::move(sample));
  }

  ChatMessage message(const JsonObject& line, const json::value& value, const char* list, size_t index) const {
    return encoder_->message(value, cat(line.what(), ": ", list, "[", index, "]"));
  }

  ChatTurn encode_turn(const JsonObject& line, std::span<const ChatMessage> messages, const json::array& tools) const {
    const auto placed = [&](const Error& e) { return cat(line.what(), ": message ", messages.size(), ": ", e.what()); };
    try {
      return encoder_->encode(messages, tools);
    } catch (const ResourceError& e) {
      throw ResourceError(placed(e));
    } catch (const Error& e) {
      throw Error(placed(e));
    }
  }

  void keep(const JsonObject& line, Sample sample) {
    if (sample.ids.size() < 2)
      throw Error(cat(line.what(), ": expected a sample of at least 2 tokens, found ", sample.ids.size()));
    if (sample.ids.size() <= options_.context) {
      sample.counts[0] = 0;  // nothing stands before it
      data_.samples.push_back(std::move(sample));
      return;
    }
    if (options_.long_samples == LongSamples::kRefuse)
      throw Error(cat(line.what(), ": expected a sample of at most ", options_.context, " tokens (the context), found ",
                      sample.ids.size()));
    ++data_.dropped;
  }

  const Tokenizer& tokenizer_;
  const ChatDataOptions& options_;
  std::optional<ChatTurnEncoder> encoder_;
  ChatData data_;
};

}  // namespace

Sample completion_sample(const Tokenizer& tokenizer, std::string_view prompt, std::string_view completion) {
  const TokenizerSpec& spec = tokenizer.spec();
  Sample sample;
  if (spec.add_bos && spec.bos) append(sample, {&*spec.bos, 1}, 0);
  append(sample, tokenizer.encode(prompt), 0);
  append(sample, tokenizer.encode(completion), 1);
  if (spec.eos) append(sample, {&*spec.eos, 1}, 1);
  if (!sample.counts.empty()) sample.counts[0] = 0;  // nothing stands before it
  return sample;
}

namespace {

/// Calls f with each line of the files, and progress with the bytes read.
void for_each_line(const std::vector<std::filesystem::path>& files, const WorkProgress& progress,
                   FunctionRef<void(const JsonObject& line)> f) {
  uint64_t done = 0, total = 0;
  for (const std::filesystem::path& path : files) total += InputFile(path).size();
  for (const std::filesystem::path& path : files) {
    uint64_t of_file = 0;
    for_each_json_line(path, [&](const JsonObject& line, uint64_t bytes) {
      if (progress) progress(done + (of_file = bytes), total);
      f(line);
    });
    done += of_file;
  }
}

/// {"prompt", "completion"} of one answer of a pair.
json::value answer_line(const JsonObject& line, const char* which) {
  const json::value* answer = line.find(which);
  if (!answer) throw Error(cat(line.what(), ": ", which, ": expected an answer, found none"));
  json::object out;
  if (const json::value* tools = line.find("tools")) out["tools"] = *tools;
  if (const json::value* prompt = line.find("prompt")) {
    out["prompt"] = *prompt;
    out["completion"] = *answer;
    return out;
  }
  if (!answer->is_array() || answer->as_array().size() < 2)
    throw Error(
        cat(line.what(), ": ", which, ": expected messages, the last one the answer, where there is no prompt"));
  json::array prompt = answer->as_array();
  out["completion"] = json::array{prompt.back()};
  prompt.pop_back();
  out["prompt"] = std::move(prompt);
  return out;
}

}  // namespace

ChatData read_chat_data(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                        const ChatTemplate* chat_template, const ChatDataOptions& options,
                        const WorkProgress& progress) {
  Reader reader(tokenizer, chat_template, options);
  for_each_line(files, progress, [&](const JsonObject& line) { reader.add(line); });
  return reader.take();
}

std::vector<PreferenceSamples> read_preferences(const std::vector<std::filesystem::path>& files,
                                                const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                                const ChatDataOptions& options, const WorkProgress& progress) {
  std::vector<PreferenceSamples> out;
  for_each_line(files, progress, [&](const JsonObject& line) {
    const auto sample = [&](const char* which) {
      Reader reader(tokenizer, chat_template, options);
      const json::value answer = answer_line(line, which);
      reader.add(JsonObject(answer, line.what()));
      ChatData data = reader.take();
      if (data.samples.size() != 1)
        throw Error(cat(line.what(), ": ", which, ": expected one answer, found ", data.samples.size()));
      return std::move(data.samples.front());
    };
    Sample chosen = sample("chosen");
    out.push_back({std::move(chosen), sample("rejected")});
  });
  return out;
}

}  // namespace fathom
