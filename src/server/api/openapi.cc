#include "server/api/openapi.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "server/api/embeddings.h"
#include "server/api/request.h"
#include "server/api/rerank.h"

namespace fathom {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kTokens = 1 << 30;

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

struct Description {
  const char *path, *summary;
  FieldList fields = {};  ///< of the body; empty: none is known
  const char* reply = "application/json";
};

std::vector<Description> descriptions() {
  const double top = static_cast<double>(kMostTopLogprobs);
  return {
      {"/chat/completions", "The next message of a conversation, as OpenAI's and DeepSeek's APIs have it.",
       chat_prompt_fields() + sampling_fields() +
           FieldList{{"max_tokens", "integer", "new tokens, thinking included", 1, kTokens},
                     {"max_completion_tokens", "integer", "as max_tokens", 1, kTokens},
                     {"logprobs", "boolean"},
                     {"top_logprobs", "integer", "only together with logprobs", 0, top}}},
      {"/completions", "A text or token ids, continued; with suffix: the gap between.",
       FieldList{
           kModel,
           {.name = "prompt", .type = "any", .about = "a string, token ids, or a list of either", .required = true},
           {"suffix", "string"},
           {"echo", "boolean"},
           {"max_tokens", "integer", "absent: 16", 1, kTokens},
           {"logprobs", "integer", "alternatives of each token", 0, top},
           {"best_of", "integer", "the same as n", 1, static_cast<double>(kMostChoices)}} +
           sampling_fields()},
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
      {"/files/{id}/content", "The bytes of a file.", {}, "application/octet-stream"},
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
        {"parse_special", "boolean", "special tokens in the text are read as such"}}},
      {"/detokenize", "The text of token ids.", {kModel, {.name = "tokens", .type = "array", .required = true}}},
      {"/apply-template", "The exact prompt of a conversation.", chat_prompt_fields()},
      {"/models", "The models, and the other names for them."},
      {"/models/load", "Puts a model into memory.", {kOneModel}},
      {"/models/unload", "Out of memory, once the answers that need it have ended.", {kOneModel}},
      {"/models/reload", "Reads a model's files anew; answers that run keep the old.", {kOneModel}},
      {"/health", "Whether the server is alive."},
      {"/ready", "200: it takes requests; 503: it finishes what runs."},
      {"/metrics", "Counters in Prometheus' text format.", {}, "text/plain"},
      {"/openapi.json", "This description."},
  };
}

json::object schema_of(const FieldList& fields) {
  json::object properties;
  json::array required;
  for (const Field& f : fields) {
    json::object property;
    if (std::string_view(f.type) != "any") property["type"] = f.type;
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

json::object operation(const RouteName& route, const Description* known) {
  const char* reply = known ? known->reply : "application/json";
  json::object out{{"responses",
                    {{"200", {{"description", "done"}, {"content", {{reply, json::object()}}}}},
                     {"default",
                      {{"description", "an error, as OpenAI writes it"},
                       {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/Error"}}}}}}}}}}}};
  if (known) out["summary"] = known->summary;
  if (route.path.find("{id}") != std::string::npos)
    out["parameters"] = json::array{
        json::object{{"name", "id"}, {"in", "path"}, {"required", true}, {"schema", json::object{{"type", "string"}}}}};
  if (route.method == "POST")
    out["requestBody"] = {
        {"required", true},
        {"content", {{"application/json", {{"schema", schema_of(known ? known->fields : FieldList())}}}}}};
  return out;
}

}  // namespace

json::object openapi(std::span<const RouteName> routes) {
  const std::vector<Description> known = descriptions();
  json::object paths;
  for (const RouteName& route : routes) {
    const auto found = std::ranges::find_if(known, [&](const Description& d) { return d.path == route.path; });
    if (!paths.contains(route.path)) paths[route.path] = json::object();
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    paths[route.path].as_object()[method] = operation(route, found == known.end() ? nullptr : &*found);
  }
  const auto text_or_null = json::object{{"type", json::array{"string", "null"}}};
  json::object error{{"type", "object"},
                     {"properties",
                      {{"error",
                        {{"type", "object"},
                         {"properties",
                          {{"message", {{"type", "string"}}},
                           {"type", {{"type", "string"}}},
                           {"param", text_or_null},
                           {"code", text_or_null}}}}}}}};
  return {{"openapi", "3.1.0"},
          {"info",
           {{"title", "fathom serve"},
            {"version", "1"},
            {"description", "Fields that are not listed are ignored and named in the header X-Fathom-Ignored."}}},
          {"servers",
           json::array{json::object{{"url", "/v1"}}, json::object{{"url", "/"}}, json::object{{"url", "/beta"}}}},
          {"paths", std::move(paths)},
          {"components", {{"schemas", {{"Error", std::move(error)}}}}}};
}

}  // namespace fathom
