#include "train/teacher.h"

#include <algorithm>

#include "base/json.h"
#include "engine/engine.h"

namespace fathom {
namespace {

/// What the id stands for; none for rows that pad a vocabulary, which one format lists and another does not.
std::optional<std::string> text_of(const TokenizerSpec& spec, size_t id) {
  if (id >= spec.tokens.size() || spec.kinds[id] == TokenKind::kUnused) return std::nullopt;
  return spec.tokens[id];
}

std::string shown(const std::optional<std::string>& token) { return token ? to_json(json::value(*token)) : "no token"; }

void require_one_vocabulary(const Checkpoint& teacher, const std::filesystem::path& path, const StartModel& student) {
  const std::string who = cat("distill.teacher: ", path.string());
  const size_t want = student.masters.config().vocab_size, found = teacher.config().vocab_size;
  if (want != found)
    throw Error(cat(who, ": expected the student's vocabulary of ", want, " tokens (vocab_size), found ", found));
  const std::optional<TokenizerSpec> its = teacher.tokenizer();
  if (!its) throw Error(cat(who, ": expected a tokenizer to compare with the student's, found none"));
  const TokenizerSpec& mine = student.tokenizer->spec();
  for (size_t id = 0; id < std::max(mine.tokens.size(), its->tokens.size()); ++id)
    if (text_of(mine, id) != text_of(*its, id))
      throw Error(cat(who, ": expected the student's tokenizer, where id ", id, " is ", shown(text_of(mine, id)),
                      ", found one where it is ", shown(text_of(*its, id))));
}

}  // namespace

Teacher::Teacher(const std::filesystem::path& path, const StartModel& student) : checkpoint_(open_checkpoint(path)) {
  require_one_vocabulary(*checkpoint_, path, student);
  const RunNumerics numerics = choose_numerics({}, checkpoint_->tensors());
  profile_ = numerics.profile, cache_type_ = numerics.cache_type;
}

void Teacher::load(size_t threads) { model_ = load_model(*checkpoint_, {.threads = threads}); }

TrainingForward Teacher::forward(Backend& backend, std::span<const Sample> samples) const {
  return {backend, *model_, samples, {.profile = profile_, .cache_type = cache_type_, .head = false}, /*tape=*/false};
}

}  // namespace fathom
