#include "server/app/answer_info.h"

#include <cmath>
#include <filesystem>

#include "server/api/error.h"
#include "server/app/app_request.h"

namespace fathom {
namespace {

enum class Kind { kCount, kNumber, kFlag, kText, kSettings };
constexpr std::pair<const char*, Kind> kFields[] = {
    {"finish_reason", Kind::kText},
    {"prompt_tokens", Kind::kCount},
    {"cached_tokens", Kind::kCount},
    {"thinking_tokens", Kind::kCount},
    {"completion_tokens", Kind::kCount},
    {"budget_spent", Kind::kFlag},
    {"queue_ms", Kind::kNumber},
    {"time_to_first_token_ms", Kind::kNumber},
    {"thinking_ms", Kind::kNumber},
    {"total_ms", Kind::kNumber},
    {"tokens_per_second", Kind::kNumber},
    {"energy_j", Kind::kNumber},
    {"energy_share", Kind::kNumber},
    {"energy_source", Kind::kText},
    {"seed", Kind::kCount},
    {"settings", Kind::kSettings},
    {"model_file", Kind::kText},
    {"weights_id", Kind::kText},
    {"profile", Kind::kText},
    {"format", Kind::kText},
};

bool fits(const json::value& value, Kind kind) {
  switch (kind) {
    case Kind::kCount: return value.is_uint64() || (value.is_int64() && value.get_int64() >= 0);
    case Kind::kNumber: return value.is_number() && value.to_number<double>() >= 0;
    case Kind::kFlag: return value.is_bool();
    case Kind::kText: return value.is_string() && value.get_string().size() <= kMostTitle;
    case Kind::kSettings:
      try {
        read_chat_settings(value, "settings");
        return true;
      } catch (const ApiError&) {
        return false;
      }
  }
  return false;
}

}  // namespace

json::object answer_info(const Answer& answer, const EngineInfo& engine, uint64_t seed, const json::object& settings,
                         const AnswerEnergy::Share& energy) {
  const AnswerStats& s = answer.stats;
  const auto rounded = [](double x, double parts) { return std::round(x * parts) / parts; };
  const auto ms = [&](double s_) { return rounded(s_ * 1e3, 10); };
  json::object info{{"finish_reason", name(answer.finish_reason)},
                    {"prompt_tokens", s.prompt_tokens},
                    {"cached_tokens", s.cached_tokens},
                    {"thinking_tokens", s.thinking_tokens},
                    {"completion_tokens", s.new_tokens},
                    {"budget_spent", s.budget_spent},
                    {"queue_ms", ms(s.queue_s)},
                    {"time_to_first_token_ms", ms(s.first_token_s)},
                    {"thinking_ms", ms(s.thinking_s)},
                    {"total_ms", ms(s.first_token_s + s.decode_s)},
                    {"tokens_per_second", rounded(s.new_tokens_per_s(), 100)},
                    {"energy_j", rounded(energy.joules, 1e3)},
                    {"energy_share", rounded(energy.part, 1e4)},
                    {"energy_source", energy.source},
                    {"seed", seed},
                    {"settings", settings},
                    {"model_file", std::filesystem::path(engine.path).filename().string()},
                    {"profile", name(engine.profile)},
                    {"format", engine.description}};
  if (!engine.weights_id.empty()) info["weights_id"] = engine.weights_id;
  return info;
}

json::object checked_info(const json::object& info, size_t& left_out) {
  json::object out;
  size_t null = 0;
  for (const auto& [key, kind] : kFields) {
    const json::value* value = info.if_contains(key);
    if (value && value->is_null()) ++null;
    if (value && !value->is_null() && fits(*value, kind)) out[key] = *value;
  }
  left_out += info.size() - out.size() - null;
  return out;
}

}  // namespace fathom
