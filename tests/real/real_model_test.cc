// Real models of $FATHOM_SHARED/models against their references (weights dequantised, run in float32 by transformers):
// continuations, log-probabilities, perplexity. The GGUF of <name>.reference.json is the file whose name, lower-cased
// and with
// '-' for '.', is <name>. Skipped, and counted, where the folder is absent.
#include "base/json.h"
#include "engine/forced.h"
#include "sampling/logprobs.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<TokenId>;

struct Case {
  fs::path reference, gguf;
};

std::vector<Case> all_cases() {
  std::vector<Case> out;
  const std::optional<fs::path> dir = testing::shared_path("models");
  if (!dir) return out;
  const std::string suffix = ".reference.json";
  for (const auto& entry : fs::directory_iterator(*dir)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(suffix)) continue;
    for (const auto& other : fs::directory_iterator(*dir)) {
      std::string stem = other.path().stem().string();
      std::transform(stem.begin(), stem.end(), stem.begin(),
                     [](unsigned char c) { return c == '.' ? '-' : static_cast<char>(std::tolower(c)); });
      if (other.path().extension() == ".gguf" && stem + suffix == name) out.push_back({entry.path(), other.path()});
    }
  }
  return out;
}

Ids ids_of(const json::value& v) {
  Ids out;
  for (const json::value& id : v.as_array()) out.push_back(static_cast<TokenId>(id.to_number<int64_t>()));
  return out;
}

class RealModel : public ::testing::Test {
 protected:
  static void for_each_case(const std::function<void(const Case&, const json::object&)>& check_case) {
    const std::vector<Case> cases = all_cases();
    if (cases.empty()) GTEST_SKIP() << "needs $FATHOM_SHARED/models";
    for (const Case& c : cases) {
      SCOPED_TRACE(c.gguf.filename().string());
      check_case(c, read_json_file(c.reference).as_object());
    }
  }
  static std::unique_ptr<Engine> open(const Case& c, Profile profile, size_t sequences = 1) {
    return Engine::load(c.gguf, {.profile = profile, .ctx = 1024, .sequences = sequences});
  }
};

TEST_F(RealModel, TokenizesTheRenderedPrompts) {
  for_each_case([](const Case& c, const json::object& reference) {
    const std::unique_ptr<Engine> engine = open(c, Profile::kExact);
    for (const json::value& v : reference.at("cases").as_array()) {
      const std::string rendered(v.as_object().at("rendered").as_string());
      EXPECT_EQ(engine->tokenizer().encode(rendered, {.parse_special = true}), ids_of(v.as_object().at("input_ids")))
          << rendered;
    }
  });
}

TEST_F(RealModel, RendersTheChatPrompts) {
  for_each_case([](const Case& c, const json::object& reference) {
    const std::unique_ptr<Engine> engine = open(c, Profile::kExact);
    for (const json::value& v : reference.at("cases").as_array()) {
      const json::object message = {{"role", "user"}, {"content", v.as_object().at("prompt")}};
      std::string rendered;
      for (const TextPiece& piece : engine->chat_template().render(
               json::object{{"messages", json::array{message}}, {"add_generation_prompt", true}}))
        rendered += piece.text;
      EXPECT_EQ(rendered, std::string(v.as_object().at("rendered").as_string()));
    }
  });
}

/// Prompt and the reference's own continuation in one forced pass: at every step the reference's token is the most
/// likely, and the log-probabilities of its five most likely tokens agree.
TEST_F(RealModel, ContinuationsAndLogProbabilities) {
  for_each_case([](const Case& c, const json::object& reference) {
    const std::unique_ptr<Engine> engine = open(c, Profile::kExact);
    double worst = 0;
    for (const json::value& v : reference.at("cases").as_array()) {
      const json::object& one = v.as_object();
      const Ids prompt = ids_of(one.at("input_ids")), greedy = ids_of(one.at("greedy_ids"));
      Ids all = prompt;
      all.insert(all.end(), greedy.begin(), greedy.end());
      const Tensor logits = forced_forward(*engine, {all})[0].logits;
      const size_t V = logits.dim(1);
      for (size_t i = 0; i < greedy.size(); ++i) {
        const std::span<const float> row{logits.data<float>() + (prompt.size() - 1 + i) * V, V};
        EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), greedy[i]) << "step " << i;
        for (const json::value& top : one.at("steps").as_array()[i].as_object().at("top").as_array()) {
          const auto id = static_cast<TokenId>(top.as_array()[0].to_number<int64_t>());
          worst = std::max(
              worst, std::abs(static_cast<double>(log_softmax_at(row, id)) - top.as_array()[1].to_number<double>()));
        }
      }
    }
    std::printf("largest difference of a log-probability: %.1e nats\n", worst);
    EXPECT_LE(worst, 5e-4);
  });
}

double perplexity(Engine& engine, const Ids& text, size_t windows, size_t window) {
  double sum = 0;
  size_t count = 0;
  for (size_t w = 0; w < windows; ++w) {
    const Ids ids(text.begin() + static_cast<long>(w * window), text.begin() + static_cast<long>((w + 1) * window));
    for (const float logprob : token_logprobs(forced_forward(engine, {ids})[0].logits, ids))
      sum -= static_cast<double>(logprob), ++count;
  }
  return std::exp(sum / static_cast<double>(count));
}

TEST_F(RealModel, Perplexity) {
  for_each_case([](const Case& c, const json::object& reference) {
    const std::optional<fs::path> text =
        testing::shared_path("data/text/" + std::string(reference.at("text").as_string()));
    if (!text) GTEST_SKIP() << "needs $FATHOM_SHARED/data/text";
    const JsonObject want(reference.at("perplexity"), "perplexity");
    const auto windows = static_cast<size_t>(want.integer("windows")),
               window = static_cast<size_t>(want.integer("window"));
    std::unique_ptr<Engine> engine = open(c, Profile::kExact);
    const Ids ids = engine->tokenizer().encode(testing::read_file(*text).substr(0, windows * window * 16));
    const Ids first = ids_of(reference.at("text_first_ids"));
    ASSERT_TRUE(std::equal(first.begin(), first.end(), ids.begin()));
    const double exact = perplexity(*engine, ids, windows, window);
    engine = open(c, Profile::kInt8);
    const double int8 = perplexity(*engine, ids, windows, window);
    std::printf("perplexity: reference %.5f, exact %.5f, int8 %.5f (%+.2f%%)\n", want.number("ppl_all"), exact, int8,
                100 * (int8 / exact - 1));
    EXPECT_NEAR(exact / want.number("ppl_all"), 1, 1e-4);
    EXPECT_LE(int8 / exact, 1.01);
  });
}

}  // namespace
}  // namespace fathom
