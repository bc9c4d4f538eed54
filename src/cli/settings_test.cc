#include "cli/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "cli/folders.h"
#include "tests/testing.h"

namespace fathom {
namespace {

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Environment() { old_ ? setenv(name_, old_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

std::string error_of(const std::string& toml) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "config.toml") << toml;
  try {
    Settings::load(dir.path() / "config.toml");
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

TEST(Settings, LaterSourcesWin) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "config.toml") << "profile = 'exact'\ntop_p = 0.5\nthink = false\nctx = 4_096\n";
  {
    const Environment environment("FATHOM_PROFILE", nullptr);
    const Settings settings = Settings::load(dir.path() / "config.toml");
    EXPECT_EQ(settings.text("profile"), "exact");
    EXPECT_EQ(settings.number("top-p"), 0.5);
    EXPECT_EQ(settings.text("think"), "off");
    EXPECT_EQ(settings.count("ctx"), 4096u);
    EXPECT_EQ(settings.find("profile")->source, (dir.path() / "config.toml").string());
  }
  const Environment environment("FATHOM_PROFILE", "int8");
  Settings settings = Settings::load(dir.path() / "config.toml");
  EXPECT_EQ(settings.find("profile")->source, "FATHOM_PROFILE");
  settings.set("profile", "bf16", "--profile");
  EXPECT_EQ(settings.text("profile"), "bf16");
  EXPECT_EQ(settings.to_json().at("profile").at("source").as_string(), "--profile");
  EXPECT_EQ(settings.to_json().at("seed").at("source").as_string(), "default");
}

TEST(Settings, ErrorsNamePlaceExpectationAndFinding) {
  EXPECT_NE(error_of("profile = 'fast'").find("profile: expected one of exact, int8, bf16, found 'fast'"),
            std::string::npos)
      << error_of("profile = 'fast'");
  EXPECT_NE(error_of("\nprofil = 'exact'").find(":2: profil: expected the name of a setting"), std::string::npos);
  EXPECT_NE(error_of("top_p = 2").find("expected a number from 0 to 1, found '2'"), std::string::npos)
      << error_of("top_p = 2");
  EXPECT_NE(error_of("ctx = -1").find("expected a whole number from 1"), std::string::npos);
  EXPECT_NE(error_of("stop = ['a']").find("found an unknown key"), std::string::npos);
  EXPECT_NE(error_of("system = [1]").find("another kind of value"), std::string::npos);
  EXPECT_NE(error_of("a = = 1").find(":1: expected TOML"), std::string::npos);
}

TEST(Settings, SeedsOf64Bits) {
  Settings settings;
  settings.set("seed", "18446744073709551615", "--seed");
  EXPECT_EQ(settings.count("seed"), ~uint64_t{0});
  EXPECT_THROW(settings.set("seed", "18446744073709551616", "--seed"), UsageError);
  EXPECT_THROW(settings.set("temperature", "nan", "--temperature"), UsageError);
}

TEST(Folders, FathomHomeMovesAll) {
  const Environment home("FATHOM_HOME", "/x");
  EXPECT_EQ(models_folder(), "/x/models");
  EXPECT_EQ(state_folder(), "/x/state");
}

TEST(Folders, XdgElseHome) {
  const Environment fathom("FATHOM_HOME", nullptr), home("HOME", "/h"), data("XDG_DATA_HOME", "/d"),
      state("XDG_STATE_HOME", nullptr), config("XDG_CONFIG_HOME", "relative");
  EXPECT_EQ(models_folder(), "/d/fathom/models");
  EXPECT_EQ(state_folder(), "/h/.local/state/fathom");
  EXPECT_EQ(config_folder(), "/h/.config/fathom");
}

TEST(Folders, ModelsByPathAndName) {
  const testing::TempDir dir;
  const Environment home("FATHOM_HOME", dir.path().c_str());
  const auto touch = [&](const char* name) {
    std::filesystem::create_directories((dir.path() / "models" / name).parent_path());
    std::ofstream(dir.path() / "models" / name) << "x";
  };
  touch("own/hf/config.json"), touch("own/one/q.gguf"), touch("own/two/a.gguf"), touch("own/two/b.gguf");
  touch("own/split/m-00001-of-00002.gguf"), touch("own/split/m-00002-of-00002.gguf"), touch("top.gguf");
  const std::filesystem::path models = dir.path() / "models";
  EXPECT_EQ(find_model("own/hf"), models / "own/hf");
  EXPECT_EQ(find_model("own/one"), models / "own/one/q.gguf");
  EXPECT_EQ(find_model("own/split"), models / "own/split/m-00001-of-00002.gguf");
  EXPECT_EQ(find_model("top.gguf"), models / "top.gguf");
  EXPECT_EQ(find_model((models / "own/two/b.gguf").string()), models / "own/two/b.gguf");
  EXPECT_THROW(find_model("own/two"), Error);
  EXPECT_THROW(find_model("../models/top.gguf"), Error);
  try {
    find_model("own/none");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("own/hf, own/one, own/split"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fathom
