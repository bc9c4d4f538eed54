// Every setting a person can make, in one table: its name, its default, where it may come from. Later sources win:
// default, config.toml, environment, flag. `fathom config` prints the table, the commands ask it for typed values.
// Filled once at the start by cli/app.cc; read-only afterwards.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace fathom {

enum class SettingKind { kText, kChoice, kCount, kNumber };

struct SettingSpec {
  const char* name;  ///< the flag without "--", the key of config.toml ('-' and '_' are the same)
  SettingKind kind;
  const char* choices;      ///< kChoice: "a|b|c"
  const char* environment;  ///< or null
  const char* by_default;   ///< what `fathom config` shows where nobody set it
  const char* help;
  double least = 0, most = 1e18;  ///< of a number; the engine knows the exact rules
};

std::span<const SettingSpec> setting_specs();

class Settings {
 public:
  struct Entry {
    std::string value, source;  ///< source: "default", the path of config.toml, "FATHOM_PROFILE", "--profile"
  };

  /// Reads config.toml (where it exists) and the environment. Throws UsageError naming file, line and key.
  static Settings load(const std::filesystem::path& config_toml);
  Settings() = default;

  /// Throws UsageError naming source, setting, expectation and value.
  void set(std::string_view name, const std::string& value, const std::string& source);

  const Entry* find(std::string_view name) const;  ///< null: nobody set it
  std::optional<std::string> text(std::string_view name) const;
  std::optional<uint64_t> count(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;
  /// {name: {value, source}} of all settings, in the table's order.
  json::object to_json() const;

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace fathom
