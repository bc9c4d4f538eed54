// Every hostile file of cases.h is refused in bounded time and memory, with the message that messages.txt keeps.
// FATHOM_UPDATE=1 writes messages.txt anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/error.h"
#include "tests/hostile/cases.h"
#include "tests/hostile/guard.h"
#include "tests/hostile/open_fully.h"
#include "tests/testing.h"

namespace fathom::testing {
namespace {

fs::path messages_path() { return source_dir() / "tests" / "hostile" / "messages.txt"; }

bool updating() { return std::getenv("FATHOM_UPDATE") != nullptr; }

/// The lines "name: message".
std::map<std::string, std::string> kept_messages() {
  std::map<std::string, std::string> out;
  std::ifstream in(messages_path());
  for (std::string line; std::getline(in, line);)
    if (const size_t colon = line.find(": "); colon != std::string::npos && line[0] != '#')
      out[line.substr(0, colon)] = line.substr(colon + 2);
  return out;
}

void keep(const std::string& name, const std::string& message) {
  std::map<std::string, std::string> all = kept_messages();
  all[name] = message;
  std::ofstream out(messages_path());
  out << "# What a person reads for each file of tests/hostile/make_*.cc. FILE is what was opened, FOLDER where it "
         "is.\n"
         "# FATHOM_UPDATE=1 hostile_test writes this file anew.\n";
  for (const auto& [key, text] : all) out << key << ": " << text << '\n';
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

class HostileFile : public ::testing::TestWithParam<HostileCase> {};

TEST_P(HostileFile, IsRefusedWithItsMessage) {
  const HostileCase& one = GetParam();
  const TempDir dir;
  one.make(dir.path());
  const fs::path path = one.open == "." ? dir.path() : dir.path() / one.open;
  const Ending ending = guarded([&] { one.compute ? open_and_compute(path) : open_fully(path); });
  ASSERT_EQ(ending.failure, "");
  ASSERT_NE(ending.error, "") << "accepted";
  std::string message = ending.error;
  if (one.open != ".") message = replaced(message, path.string(), "FILE");
  message = replaced(message, dir.path().string(), "FOLDER");
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 600u) << message;
  if (updating()) return keep(one.name, message);
  EXPECT_EQ(message, kept_messages()[one.name]);
}

auto group(const std::string& prefix) {
  std::vector<HostileCase> out;
  for (const HostileCase& one : all_cases())
    if (one.name.starts_with(prefix + "_")) out.push_back(one);
  return ::testing::ValuesIn(out);
}
std::string name_of(const ::testing::TestParamInfo<HostileCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(L1, HostileFile, group("L1"), name_of);
INSTANTIATE_TEST_SUITE_P(L2, HostileFile, group("L2"), name_of);
INSTANTIATE_TEST_SUITE_P(L3, HostileFile, group("L3"), name_of);
INSTANTIATE_TEST_SUITE_P(L4, HostileFile, group("L4"), name_of);
INSTANTIATE_TEST_SUITE_P(L5, HostileFile, group("L5"), name_of);
INSTANTIATE_TEST_SUITE_P(L6, HostileFile, group("L6"), name_of);
INSTANTIATE_TEST_SUITE_P(L7, HostileFile, group("L7"), name_of);
INSTANTIATE_TEST_SUITE_P(L9, HostileFile, group("L9"), name_of);
INSTANTIATE_TEST_SUITE_P(L10, HostileFile, group("L10"), name_of);

TEST(HostileMessages, OneIsKeptForEveryCaseAndNoOther) {
  std::vector<std::string> cases, kept;
  for (const HostileCase& one : all_cases()) cases.push_back(one.name);
  std::sort(cases.begin(), cases.end());
  EXPECT_EQ(std::adjacent_find(cases.begin(), cases.end()), cases.end()) << "a name twice";
  for (const auto& [name, message] : kept_messages()) kept.push_back(name);
  if (updating()) return;
  EXPECT_THAT(kept, ::testing::UnorderedElementsAreArray(cases));
}

TEST(HostileMessages, TheModelsThatAreChangedLoadAndCompute) {
  const TempDir dir;
  write_files(dir.path(), tiny_folder());
  put(dir.path() / "model.gguf", TinyGguf().bytes());
  for (const fs::path& path : {dir.path(), dir.path() / "model.gguf"}) {
    const Ending ending = guarded([&] { open_and_compute(path); });
    EXPECT_TRUE(ending.returned()) << path << ": " << ending.error << ending.failure;
  }
}

TEST(HostileGuard, EveryBadEndIsNoticed) {
  EXPECT_EQ(guarded([] { throw Error("said"); }).error, "said");
  EXPECT_TRUE(guarded([] {}).returned());
  EXPECT_NE(guarded([] { throw std::runtime_error("x"); }).failure, "");
  EXPECT_NE(guarded([] { std::_Exit(0); }).failure, "");
  EXPECT_NE(guarded([] { at_step(7), std::abort(); }).failure.find("at step 7"), std::string::npos);
}

}  // namespace
}  // namespace fathom::testing
