// What an answer took, and how it came to be: AppMessage::info (docs/app-api.md lists its fields). Pure functions; any
// thread.
#pragma once
#include "base/json.h"
#include "engine/answer.h"
#include "server/app/answer_energy.h"

namespace fathom {

/// Of an answer of this server.
json::object answer_info(const Answer& answer, const EngineInfo& engine, uint64_t seed, const json::object& settings,
                         const AnswerEnergy::Share& energy);

/// Of a message from a file: the fields of answer_info that have their types; null is as absent. `left_out` grows by
/// the number of the others.
json::object checked_info(const json::object& info, size_t& left_out);

}  // namespace fathom
