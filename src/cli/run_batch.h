// Many requests through one scheduler: lines of JSON in, answers out in the order of the lines. Compute thread.
#pragma once
#include <functional>
#include <istream>

#include "base/json.h"

namespace fathom {

class Engine;
struct RunRequest;
using RequestReader = std::function<RunRequest(const json::value& line)>;

/// At most `parallel` answers are in the making at a time; a request that is wrong gets {error} and harms no other.
/// Returns 0, 1 if a line was answered with an error, 130 after Ctrl-C (answers begun are given as far as they came).
int run_batch(Engine& engine, std::istream& in, size_t parallel, const RequestReader& read);

}  // namespace fathom
