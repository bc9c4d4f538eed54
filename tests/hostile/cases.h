// The hostile files of law 4, one per case, and what opening them does. The files are made when a test asks for them.
// The generators are make_*.cc; tests/hostile/messages_test.cc runs them all and keeps their messages.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tests/hostile/make_model.h"

namespace fathom::testing {

struct HostileCase {
  std::string name;                           ///< "L2_tensor_beyond_the_file"
  std::function<void(const fs::path&)> make;  ///< writes into an empty folder
  std::string open = "model.gguf";            ///< within the folder; "." is the folder itself
  bool compute = false;                       ///< loads and computes too
};

/// "model.gguf" with the bytes that `make` gives.
HostileCase gguf_case(std::string name, std::function<std::string()> make, bool compute = false);
/// tiny_folder() with changes.
HostileCase folder_case(std::string name, std::function<void(Files&)> change, bool compute = false);
/// tiny_folder() with keys of config.json set: {"hidden_size": 0, ...}; null stays null.
HostileCase config_case(std::string name, std::string keys);

std::vector<HostileCase> gguf_cases();         // make_gguf.cc: L1, L2, L3
std::vector<HostileCase> gguf_config_cases();  // make_gguf_config.cc: L4
std::vector<HostileCase> config_cases();       // make_config.cc: L4
std::vector<HostileCase> tokenizer_cases();    // make_tokenizer.cc: L5
std::vector<HostileCase> template_cases();     // make_template.cc: L6
std::vector<HostileCase> foreign_cases();      // make_foreign.cc: L7
std::vector<HostileCase> path_cases();         // make_paths.cc: L9
std::vector<HostileCase> safetensors_cases();  // make_safetensors.cc: L10

/// All of them, each name once.
const std::vector<HostileCase>& all_cases();

}  // namespace fathom::testing
