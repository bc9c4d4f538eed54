#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using testing::read_file;
using testing::TempDir;

constexpr const char* kHeader = "{\"format\":\"fathom.metrics\",\"version\":1,\"name\":\"x\"}\n";

class MetricsFile : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return dir_.path() / "metrics.jsonl"; }
  void put(const std::string& text) const { std::ofstream(path()) << text; }
  std::string refusal(const std::string& text) const {
    put(text);
    try {
      read_metrics(path());
    } catch (const Error& e) {
      return std::string(e.what()).substr(path().string().size());
    }
    return "accepted";
  }
  TempDir dir_;
};

TEST_F(MetricsFile, OneLinePerStep) {
  {
    MetricsLog log(path(), json::object{{"name", "x"}});
    log.append({{"step", 1}, {"loss", 2.5}});
    log.append({{"step", 3}, {"loss", std::nan("")}, {"parts", {{"format", -INFINITY}, {"list", {1, INFINITY}}}}});
    log.sync();
  }
  EXPECT_EQ(read_file(path()), std::string(kHeader) +
                                   "{\"step\":1,\"loss\":2.5}\n"
                                   "{\"step\":3,\"loss\":null,\"parts\":{\"format\":null,\"list\":[1,null]}}\n");
  const Metrics metrics = read_metrics(path());
  EXPECT_EQ(metrics.header.at("name").as_string(), "x");
  ASSERT_EQ(metrics.steps.size(), 2u);
  EXPECT_EQ(metrics.steps[0].at("loss").as_double(), 2.5);
  EXPECT_THROW(MetricsLog(path(), json::object{}), Error) << "an existing file is not written over";
}

TEST_F(MetricsFile, ResumeCutsLaterAndHalfLines) {
  const std::string one = "{\"step\":1}\n", two = "{\"step\":2}\n", nine = "{\"step\":9}\n";
  // Killed at any byte of the last line, resumed at any step: exactly the whole lines up to it are left.
  for (size_t cut = 0; cut <= nine.size(); ++cut)
    for (const int64_t last : {0, 1, 2, 8, 9}) {
      put(kHeader + one + two + nine.substr(0, cut));
      EXPECT_EQ(read_metrics(path()).steps.size(), cut == nine.size() ? 3u : 2u);
      MetricsLog log(path(), last);
      log.append({{"step", 10}});
      const std::string kept =
          (last >= 1 ? one : "") + (last >= 2 ? two : "") + (last >= 9 && cut == nine.size() ? nine : "");
      EXPECT_EQ(read_file(path()), kHeader + kept + "{\"step\":10}\n");
    }
}

TEST_F(MetricsFile, NamesDamage) {
  EXPECT_EQ(refusal(""), ": expected a header line of fathom.metrics, found none");
  EXPECT_EQ(refusal(kHeader), "accepted");
  EXPECT_EQ(refusal("{\"step\":1}\n"), ":1: expected format fathom.metrics version 1, found none version 0");
  EXPECT_EQ(refusal(cat(kHeader, "{\"step\":2}\n{\"step\":2}\n")), ":3: step: expected more than 2, found 2");
  EXPECT_EQ(refusal(cat(kHeader, "[]\n")), ":2: expected a JSON object, found an array");
  EXPECT_EQ(refusal(cat(kHeader, "{\"step\":1\n{\"step\":2}\n")).substr(0, 16), ":2: expected JSO");
}

}  // namespace
}  // namespace fathom
