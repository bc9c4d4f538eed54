#include "server/app/answer_tokens.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr char kVersion = 1;
constexpr double kScale = 1000, kLeast = -100;
const float kLeastKept = std::log(1e-4F);

void put(std::string& out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  out += static_cast<char>(n);
}

uint64_t scaled(float logprob) {
  return static_cast<uint64_t>(std::lround(-kScale * std::clamp<double>(logprob, kLeast, 0)));
}

/// Reads what put() has written.
class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}
  uint64_t number() {
    uint64_t n = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      if (at_ == data_.size()) break;
      const auto byte = static_cast<unsigned char>(data_[at_++]);
      n |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return n;
    }
    throw Error("the tokens in the store: expected a number, found none");
  }
  uint64_t below(uint64_t bound) {
    const uint64_t n = number();
    if (n >= bound) throw Error(cat("the tokens in the store: expected a number below ", bound, ", found ", n));
    return n;
  }
  std::string_view bytes(uint64_t n) {
    if (n > data_.size() - at_)
      throw Error(cat("the tokens in the store: expected ", n, " bytes, found ", data_.size() - at_));
    at_ += n;
    return data_.substr(at_ - n, n);
  }
  size_t left() const { return data_.size() - at_; }

 private:
  std::string_view data_;
  size_t at_ = 0;
};

/// A model may have more rows than its tokenizer has tokens.
bool named(const Tokenizer& tokenizer, TokenId id) { return static_cast<size_t>(id) < tokenizer.vocab_size(); }

json::value text_json(std::string_view text) {
  if (valid_utf8_prefix(text) == text.size()) return json::value(text);
  json::array bytes;
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

}  // namespace

uint64_t AnswerTokens::text_of(const Tokenizer& tokenizer, TokenId id) {
  const auto [at, fresh] = known_.emplace(id, known_.size());
  if (fresh) {
    const std::string_view text = named(tokenizer, id) ? tokenizer.token_view(id) : std::string_view();
    put(texts_, text.size());
    texts_ += text;
  }
  return at->second;
}

void AnswerTokens::add(const Tokenizer& tokenizer, TokenId id, const TopLogprobs& logprobs, uint8_t bits) {
  if (++count_ > kMost) return;
  if (named(tokenizer, id) && tokenizer.kind(id) == TokenKind::kControl) bits |= kControl;
  const auto kept = std::ranges::find_if(logprobs.top, [](const TokenLogprob& t) { return t.logprob < kLeastKept; });
  put(tokens_, bits);
  put(tokens_, static_cast<uint64_t>(kept - logprobs.top.begin()));
  put(tokens_, text_of(tokenizer, id));
  put(tokens_, scaled(logprobs.chosen.logprob));
  for (auto t = logprobs.top.begin(); t != kept; ++t) {
    put(tokens_, text_of(tokenizer, t->id));
    put(tokens_, scaled(t->logprob));
  }
}

std::string AnswerTokens::packed() const {
  if (count_ == 0) return {};
  std::string out(1, kVersion);
  for (const uint64_t n : {uint64_t{count_}, std::min<uint64_t>(count_, kMost), uint64_t{known_.size()}}) put(out, n);
  return out + texts_ + tokens_;
}

json::object answer_tokens_json(std::string_view packed) {
  json::array texts, tokens;
  if (packed.empty()) return {{"total", 0}, {"texts", std::move(texts)}, {"tokens", std::move(tokens)}};
  if (packed.front() != kVersion)
    throw Error(cat("the tokens in the store: expected version ", int{kVersion}, ", found ", int{packed.front()}));
  Reader in(packed.substr(1));
  const uint64_t total = in.number(), kept = in.below(in.left() + 1), known = in.below(in.left() + 1);
  for (uint64_t i = 0; i < known; ++i) texts.push_back(text_json(in.bytes(in.number())));
  for (uint64_t i = 0; i < kept; ++i) {
    json::array token{in.below(8)};
    for (uint64_t pairs = in.below(in.left() + 1) + 1; pairs > 0; --pairs) {
      token.emplace_back(in.below(known));
      token.emplace_back(0 - static_cast<double>(in.number()) / kScale);
    }
    tokens.push_back(std::move(token));
  }
  return {{"total", total}, {"texts", std::move(texts)}, {"tokens", std::move(tokens)}};
}

}  // namespace fathom
