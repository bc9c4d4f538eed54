#include "server/api/rerank.h"

#include <algorithm>
#include <cmath>

#include "server/api/fields.h"

namespace fathom {
namespace {

/// Ids that begin an answer of this word. All of its spellings that are one token; else the first token of the word.
std::vector<TokenId> ids_of_word(const Tokenizer& tokenizer, const std::string& lower, const std::string& capital) {
  std::vector<TokenId> out;
  for (const std::string& text : {lower, capital, " " + lower, " " + capital})
    if (const std::vector<TokenId> ids = tokenizer.encode(text);
        ids.size() == 1 && std::ranges::find(out, ids.front()) == out.end())
      out.push_back(ids.front());
  if (out.empty()) out.push_back(tokenizer.encode(lower).front());
  return out;
}

/// The query comes first, so that all documents share its pages.
Prompt question(const Engine& engine, const RerankRequest& r, size_t index) {
  GenerateRequest request;
  ChatPrompt chat;
  chat.thinking = false;
  chat.messages.push_back(
      {{"role", "user"},
       {"content", cat("Does the document help to answer the query? Reply with one word, yes or no.\n\nQuery: ",
                       r.query, "\n\nDocument: ", r.documents[index], "\n\nReply with yes or no.")}});
  request.prompt = std::move(chat);
  try {
    return prompt_of(engine, request);
  } catch (const ApiError& e) {
    ApiError named = e;
    named.param = cat("documents[", index, "]");
    throw named;
  }
}

/// P(yes) / (P(yes) + P(no)) of log-probabilities, those of yes first.
double relevance(const std::vector<float>& scores, size_t yes) {
  double sums[2] = {0, 0};
  const float most = *std::ranges::max_element(scores);
  for (size_t i = 0; i < scores.size(); ++i) sums[i < yes ? 0 : 1] += std::exp(double{scores[i]} - double{most});
  return sums[0] / (sums[0] + sums[1]);
}

}  // namespace

RerankRequest read_rerank_request(const json::value& body) {
  Fields f(body);
  RerankRequest r;
  r.model = f.string("model").value_or("");
  const std::optional<std::string> query = f.string("query");
  if (!query) throw wrong_field("query", "query: expected a string, found none");
  r.query = *query;
  const json::array* documents = f.array("documents");
  if (!documents || documents->empty() || documents->size() > kMostDocuments)
    throw wrong_field("documents", cat("documents: expected a list of 1 to ", kMostDocuments, " texts, found ",
                                       documents ? documents->size() : 0));
  for (size_t i = 0; i < documents->size(); ++i) {
    const json::value& d = (*documents)[i];
    if (d.is_string()) {
      r.documents.emplace_back(d.get_string());
      continue;
    }
    Fields fields(d, cat("documents[", i, "]"));
    const std::optional<std::string> text = fields.string("text");
    if (!text) throw wrong_field(fields.path("text"), cat(fields.path("text"), ": expected a string, found none"));
    r.documents.push_back(*text);
    fields.name_left_over(r.warnings);
  }
  const auto n = f.integer("top_n", 1, INT32_MAX);
  r.top_n = std::min(r.documents.size(), static_cast<size_t>(n.value_or(INT32_MAX)));
  r.return_documents = f.boolean("return_documents").value_or(false);
  f.silent({"user"});
  f.name_left_over(r.warnings);
  return r;
}

void answer_rerank(ModelHost& host, std::shared_ptr<LoadedModel> model, RerankRequest request,
                   const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                   const HttpHeaders& headers) {
  const Engine& engine = model->engine();
  AnswerOptions options;
  options.sampling.temperature = 0;
  options.scored = ids_of_word(engine.tokenizer(), "yes", "Yes");
  const size_t yes = options.scored.size();
  for (const TokenId id : ids_of_word(engine.tokenizer(), "no", "No")) options.scored.push_back(id);
  const size_t count = request.documents.size();
  const auto asked = std::make_shared<const RerankRequest>(std::move(request));
  const auto scores = std::make_shared<std::vector<double>>(count);
  const auto tokens = std::make_shared<size_t>(0);
  ReadingCalls calls;
  calls.each = [scores, tokens, yes](size_t i, const Answer& answer) {
    (*scores)[i] = relevance(answer.scores, yes);
    *tokens += answer.stats.prompt_tokens;
  };
  calls.failed = [responder](const ApiError& error) { send_error(*responder, error); };
  calls.done = [scores, tokens, asked, responder, headers, name = model->name()] {
    const RerankRequest& r = *asked;
    std::vector<size_t> order(scores->size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return (*scores)[a] > (*scores)[b]; });
    json::array results;
    for (size_t i = 0; i < r.top_n; ++i) {
      json::object one{{"index", order[i]}, {"relevance_score", (*scores)[order[i]]}};
      if (r.return_documents) one["document"] = {{"text", r.documents[order[i]]}};
      results.push_back(std::move(one));
    }
    responder->send(200, "application/json",
                    to_json(json::object{{"object", "list"},
                                         {"model", r.model.empty() ? name : r.model},
                                         {"results", std::move(results)},
                                         {"usage", {{"prompt_tokens", *tokens}, {"total_tokens", *tokens}}}}),
                    headers);
  };
  const auto prompt = [model, asked](size_t i) { return question(model->engine(), *asked, i); };
  read_prompts(host, std::move(model), {count, prompt}, std::move(options), Operation::kRerank, defaults, responder,
               std::move(calls));
}

}  // namespace fathom
