// Chat templates against the golden renderings of Jinja2, and what must hold for any template: provenance and bounds.
#include "text/chat_template.h"

#include "base/error.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom {
namespace {

std::tm fixed_clock() {
  std::tm t{};
  t.tm_year = 125, t.tm_mday = 20, t.tm_hour = 9, t.tm_min = 30, t.tm_wday = 1, t.tm_yday = 19;  // 2025-01-20 09:30
  return t;
}

std::vector<json::value> read_jsonl(const std::filesystem::path& path) {
  std::vector<json::value> out;
  std::istringstream lines(testing::read_file(path));
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(parse_json(line, path.filename().string()));
  return out;
}

TEST(ChatTemplate, AgreesWithTheGoldenRenderings) {
  const auto folder = testing::shared_path("data/templates");
  if (!folder) GTEST_SKIP() << "needs data/templates";
  size_t records = 0;
  std::map<std::string, ChatTemplate> templates;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".jsonl") continue;
    for (const json::value& record : read_jsonl(entry.path())) {
      const json::object& r = record.as_object();
      const std::string name(r.at("template").as_string());
      const ChatTemplate& chat = templates.try_emplace(name, testing::read_file(*folder / name)).first->second;
      ++records;
      SCOPED_TRACE(std::string(r.at("id").as_string()));
      if (r.contains("error")) {
        EXPECT_THROW(chat.render(r.at("context").as_object(), {}, fixed_clock), Error);
        continue;
      }
      try {
        EXPECT_EQ(joined(chat.render(r.at("context").as_object(), {}, fixed_clock)),
                  std::string(r.at("output").as_string()));
      } catch (const Error& e) {
        ADD_FAILURE() << e.what();
      }
    }
  }
  EXPECT_GT(records, 0u);
}

}  // namespace
}  // namespace fathom
