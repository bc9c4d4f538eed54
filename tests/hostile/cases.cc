#include "tests/hostile/cases.h"

#include "base/error.h"
#include "base/json.h"

namespace fathom::testing {

HostileCase gguf_case(std::string name, std::function<std::string()> make, bool compute) {
  return {std::move(name), [make = std::move(make)](const fs::path& folder) { put(folder / "model.gguf", make()); },
          "model.gguf", compute};
}

HostileCase folder_case(std::string name, std::function<void(Files&)> change, bool compute) {
  const auto make = [change = std::move(change)](const fs::path& folder) {
    Files files = tiny_folder();
    change(files);
    write_files(folder, files);
  };
  return {std::move(name), make, ".", compute};
}

HostileCase config_case(std::string name, std::string keys) {
  return folder_case(std::move(name), [keys = std::move(keys)](Files& files) {
    json::value config = parse_json(files.at("config.json"), "config");
    const json::value changes = parse_json(keys, "a test's changes");
    for (const auto& [key, value] : changes.as_object()) config.as_object()[key] = value;
    files["config.json"] = to_json(config);
  });
}

const std::vector<HostileCase>& all_cases() {
  static const std::vector<HostileCase> all = [] {
    std::vector<HostileCase> out;
    for (auto* group : {gguf_cases, gguf_config_cases, config_cases, tokenizer_cases, template_cases, foreign_cases,
                        path_cases, safetensors_cases})
      for (HostileCase& one : group()) out.push_back(std::move(one));
    return out;
  }();
  return all;
}

}  // namespace fathom::testing
