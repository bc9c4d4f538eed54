#include "server/api/embeddings.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "engine/conversation.h"
#include "server/api/fields.h"

namespace fathom {
namespace {

std::vector<TokenId> read_ids(const json::array& ids) {
  std::vector<TokenId> out;
  for (const json::value& id : ids) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > INT32_MAX)
      throw wrong_field("input", "input: expected token ids in a list that begins with one");
    out.push_back(static_cast<TokenId>(id.get_int64()));
  }
  return out;
}

Prompt prompt_of_input(const Engine& engine, const EmbeddingRequest& r, size_t index) {
  const auto wrong = [&](const std::string& what) {
    const std::string path = r.inputs.size() == 1 ? "input" : cat("input[", index, "]");
    return wrong_field(path, cat(path, ": expected ", what));
  };
  const size_t ctx = engine.info().ctx, V = engine.config().vocab_size;
  std::vector<TokenId> ids;
  if (const std::string* text = std::get_if<std::string>(&r.inputs[index])) {
    if (text->empty()) throw wrong("a text, found an empty one");
    const TextPiece piece{*text, false};
    if (const size_t fewest = engine.tokenizer().fewest_tokens({&piece, 1}); fewest >= ctx)
      throw wrong(cat("1 to ", ctx - 1, " tokens, found at least ", fewest, "; nothing is cut off"));
    ids = engine.tokenizer().encode(*text, {.add_special = true});
  } else {
    ids = std::get<std::vector<TokenId>>(r.inputs[index]);
  }
  if (ids.empty() || ids.size() >= ctx)
    throw wrong(cat("1 to ", ctx - 1, " tokens, found ", ids.size(), "; nothing is cut off"));
  for (const TokenId id : ids)
    if (static_cast<size_t>(id) >= V) throw wrong(cat("token ids below ", V, ", found ", id));
  return {std::move(ids)};
}

}  // namespace

EmbeddingInputs read_embedding_inputs(const json::value& input) {
  EmbeddingInputs out;
  const auto add = [&](const json::value& item) {
    if (item.is_string())
      out.emplace_back(std::string(item.get_string()));
    else if (item.is_array())
      out.emplace_back(read_ids(item.get_array()));
    else
      throw wrong_field("input",
                        cat("input: expected strings or lists of token ids, found ", json::to_string(item.kind())));
  };
  const json::array* list = input.if_array();
  if (!list || (!list->empty() && list->front().is_number())) {
    add(input);
    return out;
  }
  if (list->empty() || list->size() > kMostInputs)
    throw wrong_field("input", cat("input: expected 1 to ", kMostInputs, " texts, found ", list->size()));
  for (const json::value& item : *list) add(item);
  return out;
}

EmbeddingRequest read_embedding_request(const json::value& body) {
  Fields f(body);
  EmbeddingRequest r;
  r.model = f.string("model").value_or("");
  const json::value* input = f.any("input");
  if (!input) throw wrong_field("input", "input: expected a string, a list of strings or token ids, found none");
  r.inputs = read_embedding_inputs(*input);
  const std::string format = f.string("encoding_format").value_or("float");
  if (format != "float" && format != "base64")
    throw wrong_field("encoding_format",
                      cat("encoding_format: expected float or base64, found '", format.substr(0, 60), "'"));
  r.base64 = format == "base64";
  const std::string pooling = f.string("pooling").value_or("last");
  if (pooling != "last" && pooling != "mean")
    throw wrong_field("pooling", cat("pooling: expected last or mean, found '", pooling.substr(0, 60), "'"));
  r.pooling = pooling == "mean" ? Pooling::kMean : Pooling::kLast;
  if (const auto n = f.integer("dimensions", 1, 1 << 20)) r.dimensions = static_cast<size_t>(*n);
  f.silent({"user"});
  f.name_left_over(r.warnings);
  return r;
}

std::vector<float> unit_vector(std::span<const float> vector, size_t dimensions) {
  if (dimensions != 0) vector = vector.first(std::min(dimensions, vector.size()));
  double squares = 0;
  for (const float x : vector) squares += double{x} * double{x};
  const double length = squares > 0 ? std::sqrt(squares) : 1;
  std::vector<float> out;
  out.reserve(vector.size());
  for (const float x : vector) out.push_back(static_cast<float>(double{x} / length));
  return out;
}

std::string vector_json(std::span<const float> vector, bool base64) {
  if (base64) {
    static_assert(std::endian::native == std::endian::little);
    const size_t bytes = vector.size_bytes();
    std::string text(sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_ORIGINAL), '\0');
    sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(vector.data()), bytes,
                      sodium_base64_VARIANT_ORIGINAL);
    text.pop_back();  // the terminating zero
    return '"' + text + '"';
  }
  std::string text = "[";
  for (const float x : vector) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, x).ptr;
    if (text.size() > 1) text += ',';
    text.append(digits, end);
  }
  return text + "]";
}

void embed(ModelHost& host, std::shared_ptr<LoadedModel> model, EmbeddingRequest request,
           const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder, EmbeddingCalls calls) {
  const Engine& engine = model->engine();
  const size_t D = engine.config().hidden_size, dimensions = request.dimensions.value_or(D);
  if (dimensions > D)
    throw wrong_field("dimensions", cat("dimensions: expected at most the model's ", D, ", found ", dimensions));
  AnswerOptions options;
  options.pooling = request.pooling;
  const size_t count = request.inputs.size();
  const auto tokens = std::make_shared<size_t>(0);
  const auto prompt = [model, r = std::make_shared<const EmbeddingRequest>(std::move(request))](size_t i) {
    return prompt_of_input(model->engine(), *r, i);
  };
  options.sampling.temperature = 0;
  read_prompts(host, std::move(model), {count, prompt}, std::move(options), Operation::kEmbeddings, defaults, responder,
               {.each =
                    [dimensions, tokens, each = std::move(calls.each)](size_t i, const Answer& answer) {
                      *tokens += answer.stats.prompt_tokens;
                      each(i, unit_vector(answer.embedding, dimensions));
                    },
                .done = [tokens, done = std::move(calls.done)] { done(*tokens); },
                .failed = std::move(calls.failed)});
}

void answer_embeddings(ModelHost& host, std::shared_ptr<LoadedModel> model, EmbeddingRequest request,
                       const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                       const HttpHeaders& headers) {
  // Each vector is written when it comes, so that no long writing holds the compute thread up at the end.
  const auto vectors = std::make_shared<std::vector<std::string>>(request.inputs.size());
  const std::string name = to_json(json::value(request.model.empty() ? model->name() : request.model));
  EmbeddingCalls calls;
  calls.each = [vectors, base64 = request.base64](size_t i, const std::vector<float>& vector) {
    (*vectors)[i] = vector_json(vector, base64);
  };
  calls.done = [vectors, name, responder, headers](size_t tokens) {
    std::string body = R"({"object":"list","data":[)";
    for (size_t i = 0; i < vectors->size(); ++i)
      body += cat(i ? "," : "", R"({"object":"embedding","index":)", i, R"(,"embedding":)", (*vectors)[i], "}");
    body += cat(R"(],"model":)", name, R"(,"usage":{"prompt_tokens":)", tokens, R"(,"total_tokens":)", tokens, "}}");
    responder->send(200, "application/json", std::move(body), headers);
  };
  calls.failed = [responder](const ApiError& error) { send_error(*responder, error); };
  embed(host, std::move(model), std::move(request), defaults, responder, std::move(calls));
}

}  // namespace fathom
