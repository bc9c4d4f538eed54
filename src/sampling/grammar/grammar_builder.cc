#include "sampling/grammar/grammar_builder.h"

#include <algorithm>

#include "base/error.h"
#include "sampling/grammar/nfa.h"

namespace fathom {
namespace {

constexpr uint32_t kHeavy = 1u << 30;

uint32_t heavier(uint64_t a, uint64_t b) { return static_cast<uint32_t>(std::min<uint64_t>(a + b, kHeavy)); }

}  // namespace

std::vector<CharRange> normalised(std::vector<CharRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const CharRange& a, const CharRange& b) { return a.lo < b.lo; });
  std::vector<CharRange> out;
  const auto add = [&out](char32_t lo, char32_t hi) {
    if (lo > hi) return;
    if (!out.empty() && lo <= out.back().hi + 1) {
      out.back().hi = std::max(out.back().hi, hi);
    } else {
      out.push_back({lo, hi});
    }
  };
  // Surrogates are no characters. The two halves are added in order, so that ranges may still join on each side.
  for (const CharRange& r : ranges) add(r.lo, std::min<char32_t>(r.hi, 0xD7FF));
  for (const CharRange& r : ranges) add(std::max<char32_t>(r.lo, 0xE000), std::min<char32_t>(r.hi, 0x10FFFF));
  return out;
}

std::vector<CharRange> complement(std::vector<CharRange> ranges) {
  std::vector<CharRange> out;
  char32_t next = 0;
  for (const CharRange& r : normalised(std::move(ranges))) {
    if (r.lo > next) out.push_back({next, r.lo - 1});
    next = r.hi + 1;
  }
  out.push_back({next, 0x10FFFF});
  return normalised(std::move(out));
}

ExprId GrammarBuilder::add(Expr expr) {
  if (exprs_.size() >= kMostGrammarParts || parts_.size() >= kMostGrammarParts ||
      text_.size() >= 16 * kMostGrammarParts)
    throw Error(cat("grammar: expected at most ", kMostGrammarParts, " parts, found more"));
  exprs_.push_back(expr);
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId GrammarBuilder::add_list(Kind kind, const std::vector<ExprId>& parts) {
  Expr expr{kind, static_cast<uint32_t>(parts_.size()), static_cast<uint32_t>(parts.size())};
  for (const ExprId part : parts) expr.weight = heavier(expr.weight, exprs_[part].weight);
  const ExprId id = add(expr);
  parts_.insert(parts_.end(), parts.begin(), parts.end());
  return id;
}

ExprId GrammarBuilder::literal(std::string_view utf8) {
  const auto size = static_cast<uint32_t>(utf8.size());
  const ExprId id = add({Kind::kLiteral, static_cast<uint32_t>(text_.size()), size, 0, 0, size});
  text_ += utf8;
  return id;
}

ExprId GrammarBuilder::chars(std::vector<CharRange> ranges) {
  ranges = normalised(std::move(ranges));
  const auto size = static_cast<uint32_t>(ranges.size());
  const ExprId id = add({Kind::kChars, static_cast<uint32_t>(ranges_.size()), size, 0, 0, size});
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  return id;
}

ExprId GrammarBuilder::sequence(std::vector<ExprId> parts) {
  return parts.size() == 1 ? parts[0] : add_list(Kind::kSequence, parts);
}

ExprId GrammarBuilder::choice(std::vector<ExprId> alternatives) {
  return alternatives.size() == 1 ? alternatives[0] : add_list(Kind::kChoice, alternatives);
}

ExprId GrammarBuilder::repeat(ExprId what, uint32_t min, uint32_t max) {
  const uint64_t copies = max == kUnlimited ? uint64_t{min} + 1 : max;
  const auto weight = static_cast<uint32_t>(std::min<uint64_t>(copies * exprs_[what].weight, kHeavy));
  return add({Kind::kRepeat, what, 0, min, max, weight});
}

ExprId GrammarBuilder::rule(RuleId rule) { return add({Kind::kRule, rule, 0, 0, 0, kHeavy}); }

ExprId GrammarBuilder::graph(Graph graph) {
  graphs_.push_back(std::move(graph));
  return add({Kind::kGraph, static_cast<uint32_t>(graphs_.size() - 1), 0, 0, 0, kHeavy});
}

RuleId GrammarBuilder::declare(std::string name) {
  if (rules_.size() >= kMostGrammarParts / 8)
    throw Error(cat("grammar: expected at most ", kMostGrammarParts / 8, " rules, found more"));
  rules_.push_back({std::move(name), {}});
  return static_cast<RuleId>(rules_.size() - 1);
}

void GrammarBuilder::define(RuleId rule, ExprId expr) { rules_[rule].expr = expr; }

RuleId GrammarBuilder::add_rule(std::string name, ExprId expr) {
  const RuleId id = declare(std::move(name));
  define(id, expr);
  return id;
}

}  // namespace fathom
