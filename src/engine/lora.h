// LoRA adapters that some sequences of an engine have, beside others: one engine, one cache, one set of weights
// (docs/api.md). No state: thread-safe.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "engine/session.h"
#include "formats/peft_adapter.h"

namespace fathom {

class Engine;

/// An adapter for an engine's sequences, and what it is.
struct LoadedAdapter {
  std::shared_ptr<const SequenceAdapter> adapter;
  std::string description;  ///< "FOLDER (r 8, 60 matrices)"
};

/// Reads the adapter's folder, in peft's format; its product counts `scale` times. Throws Error for a broken file, an
/// adapter that does not fit the engine's model, or an engine that has one for all of its sequences.
LoadedAdapter load_adapter(const Engine& engine, const std::filesystem::path& folder, double scale = 1);

/// "FOLDER (r 8, 60 matrices)"
std::string describe_adapter(const std::filesystem::path& folder, const PeftAdapter& adapter);

}  // namespace fathom
