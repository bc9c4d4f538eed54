// Ollama's endpoints; ollama_request.h says what they take.
#include <sodium.h>

#include <array>
#include <map>
#include <mutex>

#include "base/json.h"
#include "engine/chat_prompt.h"
#include "formats/checkpoint.h"
#include "server/api/api.h"
#include "server/api/embeddings.h"
#include "server/api/fields.h"
#include "server/api/ollama_reply.h"
#include "server/api/ollama_request.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

/// Editors ask for the least version of Ollama that has what they need: the one whose fields are written here.
constexpr const char* kOllamaVersion = "0.13.0";

void send_json(Responder& responder, const json::value& value) {
  responder.send(200, "application/json", to_json(value));
}

/// Size and last change of a model's files. What cannot be read counts nothing.
struct FileFacts {
  uint64_t bytes = 0;
  std::filesystem::file_time_type modified = std::filesystem::file_time_type::min();
  bool operator==(const FileFacts&) const = default;
};
FileFacts file_facts(const std::filesystem::path& path) {
  FileFacts facts;
  std::error_code error;
  const auto add = [&](const std::filesystem::path& file) {
    if (!std::filesystem::is_regular_file(file, error)) return;
    if (const uint64_t n = std::filesystem::file_size(file, error); !error) facts.bytes += n;
    if (const auto time = std::filesystem::last_write_time(file, error); !error)
      facts.modified = std::max(facts.modified, time);
  };
  if (!std::filesystem::is_directory(path, error)) {
    add(path);
    return facts;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) add(entry.path());
  return facts;
}

/// Ollama's digest names a model's files; ours is of what changes with them.
std::string digest(const HostedModel& model, const FileFacts& facts) {
  const std::string text = cat(model.path.string(), '\n', facts.bytes, '\n', facts.modified.time_since_epoch().count());
  std::array<unsigned char, 32> hash;
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                     nullptr, 0);
  std::array<char, 2 * 32 + 1> hex;
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return hex.data();
}

/// "1.5B", "135M"
std::string short_count(double n) {
  std::array<char, 32> text;
  const bool billions = n >= 1e9;
  std::snprintf(text.data(), text.size(), billions ? "%.1fB" : "%.0fM", n / (billions ? 1e9 : 1e6));
  return text.data();
}

struct ModelFacts {
  std::string format, family, quantization;  // quantization: the type of most of the weights
  uint64_t parameters = 0;
  ModelConfig config;
};
ModelFacts read_model_facts(const HostedModel& model) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(model.path);
  ModelFacts facts;
  facts.config = checkpoint->config();
  facts.family = facts.config.model_type;
  facts.format = std::filesystem::is_directory(model.path) ? "safetensors" : "gguf";
  std::map<std::string, uint64_t> elements;
  for (const TensorInfo& t : checkpoint->tensors()) {
    facts.parameters += t.shape.count();
    elements[std::string(info(t.dtype).name)] += t.shape.count();
  }
  uint64_t most = 0;
  for (const auto& [type, n] : elements)
    if (n > most) facts.quantization = type, most = n;
  return facts;
}

/// The same without opening files that are as they were when they were last asked for: clients ask often.
ModelFacts model_facts(const HostedModel& model, const FileFacts& files) {
  struct Known {
    FileFacts files;
    ModelFacts facts;
  };
  static std::mutex mutex;
  static std::map<std::filesystem::path, Known> known;  // one for each served model
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(model.path); found != known.end() && found->second.files == files)
      return found->second.facts;
  }
  Known read{files, read_model_facts(model)};
  const std::lock_guard lock(mutex);
  return (known[model.path] = std::move(read)).facts;
}

json::object details(const ModelFacts& facts) {
  return {{"parent_model", ""},
          {"format", facts.format},
          {"family", facts.family},
          {"families", json::array{json::value(facts.family)}},
          {"parameter_size", short_count(static_cast<double>(facts.parameters))},
          {"quantization_level", facts.quantization}};
}

json::object list_entry(const HostedModel& model, const std::string& name) {
  const FileFacts files = file_facts(model.path);
  return {{"name", name},
          {"model", name},
          {"modified_at", utc_time(std::chrono::file_clock::to_sys(files.modified))},
          {"size", files.bytes},
          {"digest", digest(model, files)},
          {"details", details(model_facts(model, files))}};
}

/// The main numbers, under the names that a GGUF file gives them; but the context is the one that is served.
json::object gguf_keys(const ModelFacts& facts, size_t ctx) {
  const ModelConfig& c = facts.config;
  json::object out{{"general.architecture", facts.family}, {"general.parameter_count", facts.parameters}};
  const auto put = [&](const char* key, size_t value) { out[cat(facts.family, ".", key)] = value; };
  put("context_length", ctx);
  put("embedding_length", c.hidden_size);
  put("block_count", c.num_hidden_layers);
  put("feed_forward_length", c.intermediate_size);
  put("attention.head_count", c.num_attention_heads);
  put("attention.head_count_kv", c.num_key_value_heads);
  put("vocab_size", c.vocab_size);
  return out;
}

json::array capabilities(const Engine& engine) {
  json::array out{"completion"};
  if (engine.has_chat_template() && engine.chat_template().mentions("tools")) out.emplace_back("tools");
  if (can_think(engine)) out.emplace_back("thinking");
  if (can_fill_gaps(engine)) out.emplace_back("insert");
  return out;
}

}  // namespace

bool is_ollama(const HttpServerRequest& request) { return request.path.starts_with("/api/"); }

void Api::ollama_run(OllamaRequest asked, const std::shared_ptr<Responder>& responder, const MakeReply& make_reply) {
  GenerateRequest& request = asked.generate;
  ChatPrompt* chat = std::get_if<ChatPrompt>(&request.prompt);
  std::optional<bool> thinking;
  const std::string own = own_name(request.model, thinking);
  const bool only_unload = asked.unload && asked.only_load;
  if (only_unload) host_.unload(own);
  const std::shared_ptr<LoadedModel> model = only_unload ? nullptr : model_of(request.model, thinking);
  if (asked.only_load) {
    json::object out{{"model", request.model}, {"created_at", utc_time(std::chrono::system_clock::now())}};
    if (chat && chat->messages.empty())
      out["message"] = json::object{{"role", "assistant"}, {"content", ""}};
    else
      out["response"] = "";
    out["done"] = true, out["done_reason"] = asked.unload ? "unload" : "load";
    return send_json(*responder, out);
  }
  if (chat && chat->thinking == true && !can_think(model->engine()))
    throw wrong_field("think", cat("\"", request.model.substr(0, 200), "\" does not support thinking"));
  std::vector<GenerateRequest> requests;
  requests.push_back(std::move(request));
  run(std::move(requests), responder, make_reply);
  if (asked.unload) host_.unload(own);  // the answer that has begun keeps it to its end
}

void Api::ollama_chat(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const Clock::time_point started = Clock::now();
  ollama_run(read_ollama_chat(parse_json(request.body, "the body")), responder,
             [&](ReplyContext context) { return make_ollama_chat_reply(std::move(context), started); });
}

void Api::ollama_generate(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const Clock::time_point started = Clock::now();
  ollama_run(read_ollama_generate(parse_json(request.body, "the body")), responder,
             [&](ReplyContext context) { return make_ollama_generate_reply(std::move(context), started); });
}

void Api::ollama_embed(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const Clock::time_point started = Clock::now();
  EmbeddingRequest r = read_ollama_embed(parse_json(request.body, "the body"));
  std::optional<bool> thinking;
  std::shared_ptr<LoadedModel> model = model_of(r.model, thinking);
  const Clock::time_point ready = Clock::now();
  const auto vectors = std::make_shared<std::vector<std::string>>(r.inputs.size());
  EmbeddingCalls calls;
  calls.each = [vectors](size_t i, const std::vector<float>& vector) {
    (*vectors)[i] = vector_json(vector, /*base64=*/false);
  };
  calls.done = [vectors, responder, started, ready, name = to_json(json::value(r.model)),
                headers = warning_headers(r.warnings)](size_t tokens) {
    const auto ns = [](Clock::duration d) { return std::chrono::nanoseconds(d).count(); };
    std::string body = cat(R"({"model":)", name, R"(,"embeddings":[)");
    for (size_t i = 0; i < vectors->size(); ++i) body += (i ? "," : "") + (*vectors)[i];
    body += cat(R"(],"total_duration":)", ns(Clock::now() - started), R"(,"load_duration":)", ns(ready - started),
                R"(,"prompt_eval_count":)", tokens, "}");
    responder->send(200, "application/json", std::move(body), headers);
  };
  calls.failed = [responder](const ApiError& error) {
    responder->send(error.status, "application/json", to_json(ollama_error(error)));
  };
  embed(host_, std::move(model), std::move(r), options_.defaults, responder, std::move(calls));
}

void Api::ollama_tags(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  json::array list;
  for (const auto& m : host_.models()) {
    const auto files = m->base.empty() ? m : host_.find(m->base);
    list.push_back(list_entry(*files, m->name));
  }
  for (const ModelAlias& a : options_.aliases) list.push_back(list_entry(*hosted(a.model), a.name));
  send_json(*responder, json::object{{"models", std::move(list)}});
}

void Api::ollama_ps(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  json::array list;
  for (const auto& m : host_.models()) {
    const std::shared_ptr<LoadedModel> model = host_.loaded(m->name);
    if (!model) continue;
    json::object entry = list_entry(*hosted(m->name), m->name);
    const EngineInfo& info = model->engine().info();
    entry["size"] = info.weight_bytes + model->engine().pool_bytes();
    entry["size_vram"] = 0;
    entry["context_length"] = info.ctx;
    entry["expires_at"] = "9999-12-31T00:00:00Z";  // it stays until its memory is needed
    list.push_back(std::move(entry));
  }
  send_json(*responder, json::object{{"models", std::move(list)}});
}

void Api::ollama_show(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  Fields f(body);
  std::string own;
  for (const char* key : {"model", "name"})
    if (const auto name = f.string(key); name && own.empty()) own = ollama_model(*name);
  if (own.empty()) throw wrong_field("model", "model: expected the name of a model, found none");
  std::optional<bool> thinking;
  const std::shared_ptr<LoadedModel> model = model_of(own, thinking);
  const Engine& engine = model->engine();
  const auto alias = std::ranges::find(options_.aliases, own, &ModelAlias::name);
  const std::shared_ptr<const HostedModel> files = hosted(alias == options_.aliases.end() ? own : alias->model);
  const FileFacts stored = file_facts(files->path);
  const ModelFacts facts = model_facts(*files, stored);
  const SamplingParams sampling = default_sampling(engine);
  send_json(*responder,
            json::object{{"modelfile", ""},
                         {"parameters", cat("temperature ", sampling.temperature, "\ntop_p ", sampling.top_p)},
                         {"template", engine.has_chat_template() ? engine.chat_template().source() : ""},
                         {"details", details(facts)},
                         {"model_info", gguf_keys(facts, engine.info().ctx)},
                         {"capabilities", capabilities(engine)},
                         {"modified_at", utc_time(std::chrono::file_clock::to_sys(stored.modified))}});
}

void Api::ollama_version(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  send_json(*responder, json::object{{"version", kOllamaVersion}});
}

}  // namespace fathom
