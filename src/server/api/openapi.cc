#include "server/api/openapi.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "server/api/embeddings.h"
#include "server/api/request.h"
#include "server/api/rerank.h"

namespace fathom {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kTokens = kMostTokens;

struct Field {
  const char *name, *type;  ///< type: JSON Schema's; "any" for more than one
  const char* about = "";
  double least = -kInf, most = kInf;
  bool required = false;
};
using FieldList = std::vector<Field>;

FieldList operator+(FieldList a, const FieldList& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

constexpr Field kModel = {"model", "string", "of /models; absent: the first"};

constexpr Field kOneModel = {.name = "model", .type = "string", .about = "of /models", .required = true};

constexpr Field kLanguage = {"language", "string",
                             "thinking and answer keep to its script: latin, han, ..., en, zh, ..."};

FieldList sampling_fields() {
  return {
      {"temperature", "number", "absent: the model's own; 0: the most likely token", 0, 100},
      {"top_p", "number", "", 0, 1},
      {"top_k", "integer", "0 and -1: all", -1, INT32_MAX},
      {"min_p", "number", "", 0, 1},
      {"repetition_penalty", "number", "", 0.01, 100},
      {"repeat_penalty", "number", "as repetition_penalty", 0.01, 100},
      {"repeat_last_n", "integer", "tokens that the penalties look back on", -1, INT32_MAX},
      {"presence_penalty", "number", "", -2, 2},
      {"frequency_penalty", "number", "", -2, 2},
      {"logit_bias", "object", "token id -> what is added to its logit"},
      {"seed", "integer", "the same seed gives the same text; absent: random, and in the header X-Fathom-Seed"},
      {"min_tokens", "integer", "", 0, kTokens},
      {"stop", "any", "a string, or at most 16"},
      {"stop_token_ids", "array", "at most 256"},
      {"include_stop_str_in_output", "boolean"},
      {"ignore_eos", "boolean"},
      kLanguage,
      {"prompt_logprobs", "integer", "of the prompt's tokens, with so many alternatives; not in streams", 0,
       static_cast<double>(kMostTopLogprobs)},
      {"priority", "integer", "lower ones are computed first", -1000, 1000},
      {"cache_salt", "string", "whose prompts share cached pages"},
      {"stream", "boolean", "server-sent events"},
      {"stream_options", "object", "include_usage; only together with stream"},
      {"n", "integer", "", 1, static_cast<double>(kMostChoices)},
      {"response_format", "object", "type: text, json_object or json_schema"},
      {"structured_outputs", "object", "one of json, regex, grammar, choice, json_object"},
      {"guided_json", "any", "a JSON schema"},
      {"guided_regex", "string"},
      {"guided_grammar", "string", "GBNF"},
      {"guided_choice", "array"},
      {"grammar", "string", "GBNF"},
      {"json_schema", "any", "a JSON schema"},
  };
}

FieldList chat_prompt_fields() {
  return {
      kModel,
      {.name = "messages", .type = "array", .about = "role and content; the last may be continued", .required = true},
      {"tools", "array", "type function"},
      {"tool_choice", "any", "auto, none, required, or a function"},
      {"parallel_tool_calls", "boolean"},
      {"thinking", "any", "{type: enabled or disabled, budget_tokens}, or a boolean"},
      {"reasoning_effort", "string"},
      {"reasoning", "object", "effort, enabled, max_tokens"},
      {"thinking_budget", "integer", "tokens; -1: none", -1, kTokens},
      {"reasoning_budget", "integer", "as thinking_budget", -1, kTokens},
      {"thinking_token_budget", "integer", "as thinking_budget", -1, kTokens},
      {"chat_template_kwargs", "object", "enable_thinking or thinking"},
      {"continue_final_message", "boolean", "the last message is the answer's beginning"},
      {"add_generation_prompt", "boolean"}};
}

FieldList anthropic_fields(bool answered) {
  return {kModel,
          {.name = "messages", .type = "array", .about = "text and tool blocks", .required = true},
          {.name = "max_tokens",
           .type = "integer",
           .about = "thinking included",
           .least = 1,
           .most = kTokens,
           .required = answered},
          {"system", "any", "a string, or text blocks"},
          {"stop_sequences", "any", "a string, or at most 16"},
          {"stream", "boolean", "server-sent events"},
          {"temperature", "number", "", 0, 2},
          {"top_k", "integer", "", 0, INT32_MAX},
          {"top_p", "number", "", 0, 1},
          {"tools", "array", "name, description, input_schema"},
          {"tool_choice", "object", "type: auto, any, tool or none"},
          {"thinking", "object", "type: enabled, adaptive or disabled; budget_tokens"},
          {"output_config", "object", "effort, format"},
          {"output_format", "object", "a JSON schema"},
          kLanguage,
          {"metadata", "any"}};
}

FieldList ollama_fields() {
  return {{.name = "model", .type = "string", .about = "of /api/tags", .required = true},
          {"think", "any", "a boolean, or an effort"},
          {"format", "any", "json, or a JSON schema"},
          {"options", "object", "temperature, num_predict, stop, ..."},
          {"stream", "boolean", "lines of JSON; absent: true"},
          {"keep_alive", "any", "0: the model leaves memory after the answer; else not used"},
          {"logprobs", "boolean"},
          {"top_logprobs", "integer", "only together with logprobs", 0, static_cast<double>(kMostTopLogprobs)},
          kLanguage};
}

constexpr const char* kJson = "application/json";
constexpr const char* kEvents = "text/event-stream";
constexpr const char* kLines = "application/x-ndjson";

struct Description {
  const char *path, *summary;
  FieldList fields = {};  ///< of the body; empty: it has none
  std::vector<const char*> replies = {kJson};
  FieldList query = {};
};

std::vector<Description> client_descriptions() {
  return {
      {"/messages",
       "The next message of a conversation, as Anthropic's API has it.",
       anthropic_fields(true),
       {kJson, kEvents}},
      {"/messages/count_tokens", "How many tokens a conversation has.", anthropic_fields(false)},
      {"/anthropic/v1/models", "The models, as Anthropic's API lists them."},
      {"/anthropic/v1/models/{name}", "One of them."},
      {"/api/chat",
       "The next message of a conversation, as Ollama's API has it.",
       ollama_fields() + FieldList{{"messages", "array", "empty: the model is loaded"}, {"tools", "array"}},
       {kJson, kLines}},
      {"/api/generate",
       "An answer to a prompt, as Ollama's API has it.",
       ollama_fields() + FieldList{{"prompt", "string", "empty: the model is loaded"},
                                   {"suffix", "string", "the gap before it is filled"},
                                   {"system", "string"},
                                   {"raw", "boolean", "the prompt is continued as it is"}},
       {kJson, kLines}},
      {"/api/embed",
       "Texts as vectors of length 1, as Ollama's API has it.",
       {{.name = "model", .type = "string", .about = "of /api/tags", .required = true},
        {.name = "input", .type = "any", .about = "a string, or a list of them", .required = true},
        {"dimensions", "integer", "", 1, 1 << 20},
        {"truncate", "boolean", "without effect: nothing is cut off"},
        {"options", "object"},
        {"keep_alive", "any", "taken and not used"}}},
      {"/api/show", "What a model is.", {{"model", "string"}, {"name", "string", "as model"}}},
      {"/api/tags", "The models, as Ollama's API lists them."},
      {"/api/ps", "Those in memory."},
      {"/api/version", "The version of Ollama's API that is followed."},
  };
}

std::vector<Description> descriptions() {
  const double top = static_cast<double>(kMostTopLogprobs);
  return {
      {"/chat/completions",
       "The next message of a conversation, as OpenAI's and DeepSeek's APIs have it.",
       chat_prompt_fields() + sampling_fields() +
           FieldList{{"max_tokens", "integer", "new tokens, thinking included", 1, kTokens},
                     {"max_completion_tokens", "integer", "as max_tokens", 1, kTokens},
                     {"logprobs", "boolean"},
                     {"top_logprobs", "integer", "only together with logprobs", 0, top},
                     {"keep", "boolean", "it goes on without its reader, and is kept"}},
       {kJson, kEvents}},
      {"/chat/completions/{id}",
       "An answer that was kept, from its beginning and on to its end.",
       {},
       {kJson, kEvents},
       {{"from", "integer", "so many events are known already", 0}}},
      {"/chat/completions/{id}/answer-now", "The thinking is closed, and the answer begins."},
      {"/chat/completions/{id}/cancel", "The answer ends."},
      {"/completions",
       "A text or token ids, continued; with suffix: the gap between.",
       FieldList{
           kModel,
           {.name = "prompt", .type = "any", .about = "a string, token ids, or a list of either", .required = true},
           {"suffix", "string"},
           {"echo", "boolean"},
           {"max_tokens", "integer", "absent: 16; 0: only the prompt is read", 0, kTokens},
           {"logprobs", "integer", "alternatives of each token", 0, top},
           {"best_of", "integer", "the same as n", 1, static_cast<double>(kMostChoices)}} +
           sampling_fields(),
       {kJson, kEvents}},
      {"/responses",
       "The next turn of a conversation, as OpenAI's newer API has it; under /v1 it is kept and can be gone on from.",
       FieldList{kModel,
                 {.name = "input", .type = "any", .about = "a string, or a list of items", .required = true},
                 {"instructions", "string", "the system message, of this turn alone"},
                 {"previous_response_id", "string", "the turn to go on from"},
                 {"store", "boolean", "absent: true under /v1"},
                 {"background", "boolean", "answered at once; GET tells when it is complete"},
                 {"stream", "boolean", "server-sent events"},
                 {"tools", "array", "type function"},
                 {"tool_choice", "any", "auto, none, required, a function, or allowed_tools"},
                 {"parallel_tool_calls", "boolean"},
                 {"reasoning", "object", "effort"},
                 {"text", "object", "format: text, json_object or json_schema"},
                 {"max_output_tokens", "integer", "new tokens, thinking included", 1, kTokens},
                 {"temperature", "number", "absent: the model's own; 0: the most likely token", 0, 100},
                 {"top_p", "number", "", 0, 1},
                 {"top_logprobs", "integer", "", 0, top},
                 {"include", "array", "message.output_text.logprobs"},
                 {"truncation", "string", "nothing is cut off"},
                 {"metadata", "object", "at most 16 strings"},
                 {"user", "string"}}},
      {"/responses/{id}", "A response that is kept; DELETE forgets it."},
      {"/responses/{id}/input_items", "What a response was asked."},
      {"/responses/{id}/cancel", "Ends a response that is made in the background."},
      {"/files", "POST keeps a file: a form (multipart/form-data) with file and purpose; GET lists them."},
      {"/files/{id}", "What is known of a file; DELETE forgets it."},
      {"/files/{id}/content", "The bytes of a file.", {}, {"application/octet-stream"}},
      {"/batches",
       "POST begins to work off a file of requests, in the background; GET lists the batches.",
       {{.name = "input_file_id", .type = "string", .about = "of a file with a request per line", .required = true},
        {.name = "endpoint", .type = "string", .about = "that all lines go to", .required = true},
        {.name = "completion_window", .type = "string", .about = "24h", .required = true},
        {"metadata", "object", "at most 16 strings"}}},
      {"/batches/{id}", "How far a batch is, and where its results are."},
      {"/batches/{id}/cancel", "Ends a batch; what is done is kept."},
      {"/embeddings",
       "Texts or token ids as vectors of length 1, from the model's last hidden states.",
       {kModel,
        {.name = "input", .type = "any", .about = "a string, token ids, or a list of either", .required = true},
        {"encoding_format", "string", "float or base64 (little-endian f32)"},
        {"dimensions", "integer", "the first so many numbers, again of length 1", 1, 1 << 20},
        {"pooling", "string", "last (the default) or mean"}}},
      {"/rerank",
       "How well documents answer a query: the probability that the model says yes, not no.",
       {kModel,
        {.name = "query", .type = "string", .required = true},
        {.name = "documents", .type = "array", .about = "strings, or objects with text", .required = true},
        {"top_n", "integer", "the best so many", 1, INT32_MAX},
        {"return_documents", "boolean"}}},
      {"/tokenize",
       "The token ids of a text (content or prompt), or of a conversation (messages).",
       {kModel,
        {"content", "string"},
        {"prompt", "string", "as content"},
        {"messages", "array"},
        {"add_special", "boolean", "with the tokens that the model's texts begin and end with"},
        {"parse_special", "boolean", "special tokens in the text are read as such"},
        {"with_pieces", "boolean", "each token as id and piece"}}},
      {"/detokenize", "The text of token ids.", {kModel, {.name = "tokens", .type = "array", .required = true}}},
      {"/apply-template", "The exact prompt of a conversation.", chat_prompt_fields()},
      {"/models", "The models, and the other names for them."},
      {"/models/load", "Puts a model into memory.", {kOneModel}},
      {"/models/unload", "Out of memory, once the answers that need it have ended.", {kOneModel}},
      {"/models/reload", "Reads a model's files anew; answers that run keep the old.", {kOneModel}},
      {"/models/{name}", "One of them."},
      {"/health", "Whether the server is alive."},
      {"/ping", "As /health; vLLM's."},
      {"/version", "Of this program; vLLM's."},
      {"/ready", "200: it takes requests; 503: it finishes what runs."},
      {"/metrics", "Counters in Prometheus' text format.", {}, {"text/plain"}},
      {"/openapi.json", "This description."},
  };
}

json::object schema_of(const FieldList& fields) {
  json::object properties;
  json::array required;
  for (const Field& f : fields) {
    json::object property;
    if (std::string_view(f.type) != "any")
      property["type"] = f.required ? json::value(f.type) : json::value(json::array{f.type, "null"});
    if (f.least > -kInf) property["minimum"] = f.least;
    if (f.most < kInf) property["maximum"] = f.most;
    if (*f.about) property["description"] = f.about;
    properties[f.name] = std::move(property);
    if (f.required) required.push_back(f.name);
  }
  json::object out{{"type", "object"}};
  if (!properties.empty()) out["properties"] = std::move(properties);
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}

/// {"required": [...], "properties": {"error": {...}}} and the like.
json::object object_schema(json::object properties) {
  json::array names;
  for (const auto& [key, value] : properties) names.emplace_back(key);
  return {{"type", "object"}, {"required", std::move(names)}, {"properties", std::move(properties)}};
}

/// Each protocol has its own form of errors.
json::object error_schemas() {
  const json::object text{{"type", "string"}}, text_or_null{{"type", json::array{"string", "null"}}};
  return {{"Error",
           object_schema(
               {{"error", object_schema(
                              {{"message", text}, {"type", text}, {"param", text_or_null}, {"code", text_or_null}})}})},
          {"AnthropicError",
           object_schema(
               {{"type", text}, {"error", object_schema({{"type", text}, {"message", text}})}, {"request_id", text}})},
          {"OllamaError", object_schema({{"error", text}})}};
}

/// A path's protocol's; what is no proper HTTP is refused before that is known, and in OpenAI's.
json::object error_schema(std::string_view path) {
  const auto reference = [](const char* name) { return json::object{{"$ref", cat("#/components/schemas/", name)}}; };
  const bool ollama = path.starts_with("/api/");
  if (!ollama && !path.starts_with("/messages") && !path.starts_with("/anthropic/")) return reference("Error");
  return {{"anyOf", json::array{reference(ollama ? "OllamaError" : "AnthropicError"), reference("Error")}}};
}

/// A path's {id}, and what may stand behind the '?'.
json::array parameters_of(const std::string& path, const FieldList& query) {
  json::array out;
  for (size_t at = path.find('{'); at != std::string::npos; at = path.find('{', at + 1))
    out.push_back({{"name", path.substr(at + 1, path.find('}', at) - at - 1)},
                   {"in", "path"},
                   {"required", true},
                   {"schema", {{"type", "string"}}}});
  for (const Field& f : query) {
    json::object schema{{"type", f.type}};
    if (f.least > -kInf) schema["minimum"] = f.least;
    out.push_back({{"name", f.name}, {"in", "query"}, {"description", f.about}, {"schema", std::move(schema)}});
  }
  return out;
}

json::object operation(const std::string& method, const std::string& path, const Description* known) {
  json::object content;
  for (const char* reply : known ? known->replies : std::vector{kJson}) content[reply] = json::object();
  const json::object error{{"schema", error_schema(path)}};
  json::object out{
      {"responses",
       {{"200", {{"description", "done"}, {"content", std::move(content)}}},
        {"default", {{"description", "an error, as its protocol writes it"}, {"content", {{kJson, error}}}}}}}};
  if (known) out["summary"] = known->summary;
  if (json::array parameters = parameters_of(path, known ? known->query : FieldList()); !parameters.empty())
    out["parameters"] = std::move(parameters);
  if (method == "POST" && !(known && known->fields.empty()))
    out["requestBody"] = {{"required", true},
                          {"content", {{kJson, {{"schema", schema_of(known ? known->fields : FieldList())}}}}}};
  return out;
}

/// How a key is given; either will do. (The cookie of the page is its own affair.)
json::object security_schemes() {
  return {{"bearer", {{"type", "http"}, {"scheme", "bearer"}, {"description", "a key of the server"}}},
          {"x-api-key", {{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}, {"description", "the same"}}}};
}

}  // namespace

json::object openapi(std::span<const RouteName> routes, bool keys, std::span<const std::string_view> open) {
  std::vector<Description> known = descriptions();
  std::ranges::move(client_descriptions(), std::back_inserter(known));
  json::object paths;
  for (const RouteName& route : routes) {
    std::string path = route.path, method = route.method;
    std::erase(path, '+');
    // Anthropic's endpoints are at two places.
    constexpr std::string_view kAnthropic = "/anthropic/v1/messages";
    const std::string_view own = std::string_view(path).substr(path.starts_with(kAnthropic) ? 13 : 0);
    const auto found = std::ranges::find_if(known, [&](const Description& d) { return d.path == own; });
    if (!paths.contains(path)) paths[path] = json::object();
    json::object written = operation(method, path, found == known.end() ? nullptr : &*found);
    if (keys && std::ranges::find(open, path) != open.end()) written["security"] = json::array();
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    paths[path].as_object()[method] = std::move(written);
  }
  json::object components{{"schemas", error_schemas()}};
  if (keys) components["securitySchemes"] = security_schemes();
  json::object out{
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "fathom serve"},
        {"version", "1"},
        {"description", "Fields that are not listed are ignored and named in the header X-Fathom-Ignored."}}},
      {"servers",
       json::array{json::object{{"url", "/v1"}}, json::object{{"url", "/"}}, json::object{{"url", "/beta"}}}},
      {"paths", std::move(paths)},
      {"components", std::move(components)}};
  if (keys) {
    json::array any;
    for (const auto& scheme : security_schemes()) any.push_back(json::object{{scheme.key(), json::array()}});
    out["security"] = std::move(any);
  }
  return out;
}

}  // namespace fathom
