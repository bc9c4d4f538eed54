// The flags of `fathom bench` that load a server or train instead. Called by cli/bench.cc. One thread.
#pragma once
#include <memory>

#include "cli/bench_serve.h"
#include "cli/bench_train.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11 named it
class App;
class Option;
}  // namespace CLI

namespace fathom {

/// --serve and what belongs to it; it excludes the model.
std::shared_ptr<BenchServeCommand> add_bench_serve_flags(CLI::App& command, CLI::Option& model);
/// --train, --sequences and --context, which exclude the model.
std::shared_ptr<BenchTrainCommand> add_bench_train_flags(CLI::App& command, CLI::Option& model);

}  // namespace fathom
