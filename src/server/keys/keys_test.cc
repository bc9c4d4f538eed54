#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "server/api/api_testing.h"
#include "server/keys/key_access.h"

namespace fathom {
namespace {

using testing::RecordedAnswer;

constexpr const char* kOne = "one-key-of-some-length";
constexpr const char* kTwo = "another-key-of-some-length";

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

class KeyFile : public ::testing::Test {
 protected:
  /// In one step, as `mv` does.
  std::filesystem::path write(const std::string& text, mode_t mode = 0600) const {
    const std::filesystem::path file = folder_.path() / "keys", aside = folder_.path() / "aside";
    std::ofstream(aside) << text;
    ::chmod(aside.c_str(), mode);
    std::filesystem::rename(aside, file);
    return file;
  }

 private:
  const testing::TempDir folder_;
};

TEST_F(KeyFile, HasAKeyALine) {
  const KeyRing keys(write(cat("# mine\n\n  ", kOne, "  \r\nlaptop\t", kTwo)), "a-third-key-of-some-length",
                     "VARIABLE");
  ASSERT_EQ(keys.all().size(), 3u);
  ASSERT_NE(keys.find(kOne), nullptr);
  EXPECT_EQ(keys.find(kOne)->name, "line 3");
  EXPECT_EQ(keys.find(kTwo)->name, "laptop");
  EXPECT_EQ(keys.find("a-third-key-of-some-length")->name, "VARIABLE");
  EXPECT_EQ(keys.find(""), nullptr);
  EXPECT_EQ(keys.find("laptop"), nullptr);
  EXPECT_EQ(keys.find(std::string(kOne) + " "), nullptr);
}

TEST_F(KeyFile, IsRefusedWithoutItsKeysInTheReason) {
  const auto refusal = [&](const std::string& text, mode_t mode = 0600) {
    const std::filesystem::path file = write(text, mode);
    const std::string said = message_of([&] { KeyRing keys(file); });
    EXPECT_EQ(said.find("secret"), std::string::npos) << said;
    EXPECT_EQ(said.find(file.string()), 0u) << said;
    return said.substr(std::min(said.size(), file.string().size()));
  };
  EXPECT_NE(refusal("secret-secret-secret", 0640).find("others may read or change it (mode 640)"), std::string::npos);
  EXPECT_NE(refusal("secret-secret-secret", 0602).find("chmod 600"), std::string::npos);
  EXPECT_EQ(refusal("# none"), ": expected a key, found none");
  EXPECT_EQ(refusal("\nsecret"), ":2: expected a key of 16 to 512 characters, found one of 6");
  EXPECT_EQ(refusal(std::string(513, 's')), ":1: expected a key of 16 to 512 characters, found one of 513");
  EXPECT_EQ(refusal("secret-secret-secret\xC3\xA9"), ":1: expected a key of printable ASCII characters without spaces");
  EXPECT_EQ(refusal("a secret-secret-secret b"), ":1: expected a key, perhaps behind a name, found more words");
  EXPECT_NE(refusal("a/b secret-secret-secret").find("expected a name"), std::string::npos);
  EXPECT_EQ(refusal("secret-secret-secret\nb secret-secret-secret"), ":2: expected each key once");
  EXPECT_NE(message_of([] { KeyRing keys("/nowhere/keys"); }).find("/nowhere/keys: expected a file of keys"),
            std::string::npos);
  EXPECT_NE(message_of([] { KeyRing keys("/"); }).find("something else"), std::string::npos);
  EXPECT_EQ(message_of([] { KeyRing keys("", "short", "VARIABLE"); }),
            "VARIABLE: expected a key of 16 to 512 characters, found one of 5");
}

TEST_F(KeyFile, IsReadAnewWhenItChanges) {
  KeyRing keys(write(kOne));
  EXPECT_FALSE(keys.refresh());
  write(kTwo);
  EXPECT_TRUE(keys.refresh());
  EXPECT_EQ(keys.find(kOne), nullptr);
  EXPECT_NE(keys.find(kTwo), nullptr);
  const std::filesystem::path file = write("short");
  EXPECT_FALSE(keys.refresh()) << "a bad file changes nothing";
  EXPECT_NE(keys.find(kTwo), nullptr);
  std::filesystem::remove(file);
  EXPECT_FALSE(keys.refresh());
  EXPECT_NE(keys.find(kTwo), nullptr);
  write(kOne);
  EXPECT_TRUE(keys.refresh());
  EXPECT_NE(keys.find(kOne), nullptr);
}

TEST(Keys, GuessesOfAnAddressAreCounted) {
  GuessLimiter limiter;
  const GuessLimiter::Time start = std::chrono::steady_clock::now();
  const KeyRing::Digest key = KeyRing::digest_of(kOne);
  limiter.worked("a", key);
  for (int i = 0; i < static_cast<int>(GuessLimiter::kBurst); ++i) {
    EXPECT_EQ(limiter.wait_s("a", start), 0) << i;
    limiter.failed("a", start);
  }
  EXPECT_EQ(limiter.wait_s("a", start), 10);
  EXPECT_EQ(limiter.wait_s("b", start), 0) << "another address";
  EXPECT_TRUE(limiter.knows("a", key));
  EXPECT_FALSE(limiter.knows("a", KeyRing::digest_of(kTwo)));
  EXPECT_FALSE(limiter.knows("b", key));
  EXPECT_EQ(limiter.wait_s("a", start + std::chrono::seconds(4)), 6);
  EXPECT_EQ(limiter.wait_s("a", start + std::chrono::seconds(11)), 0);
  limiter.failed("a", start + std::chrono::seconds(11));
  EXPECT_GT(limiter.wait_s("a", start + std::chrono::seconds(11)), 0) << "one more, not all of them again";
  for (size_t i = 0; i < GuessLimiter::kMostAddresses; ++i) limiter.failed(std::to_string(i), start);
  EXPECT_FALSE(limiter.knows("a", key)) << "the table is bounded";
}

TEST(Keys, AddressesAreThoseOfClients) {
  EXPECT_EQ(guessing_address("1.2.3.4:5", ""), "1.2.3.4");
  EXPECT_EQ(guessing_address("1.2.3.4:5", "9.9.9.9"), "1.2.3.4") << "only a proxy of this machine is believed";
  EXPECT_EQ(guessing_address("127.0.0.1:5", "6.6.6.6, 9.9.9.9"), "9.9.9.9") << "what stands before it, anybody may say";
  EXPECT_EQ(guessing_address("127.0.0.1:5", "9.9.9.9:80"), "9.9.9.9");
  EXPECT_EQ(guessing_address("127.0.0.1:5", "nonsense"), "127.0.0.1");
  EXPECT_EQ(guessing_address("[::1]:5", "[2001:db8:1:2:3:4:5:6]:7"), "2001:db8:1:2::/64");
  EXPECT_EQ(guessing_address("[2001:db8:1:2::9]:5", ""), "2001:db8:1:2::/64");
  EXPECT_EQ(guessing_address("[::ffff:1.2.3.4]:5", ""), "1.2.3.4") << "not all of IPv4 together";
}

TEST(Keys, SessionsOutliveTheServerAndEndWithTheirKey) {
  const auto store = std::make_shared<Database>(":memory:");
  KeyRing one("", kOne, "one"), two("", kTwo, "two");
  const int64_t now = std::time(nullptr);
  std::string token;
  {
    PageSessions sessions(store);
    token = sessions.begin(*one.find(kOne), now);
    EXPECT_EQ(token.size(), 64u);
    EXPECT_NE(sessions.begin(*one.find(kOne), now), token);
  }
  PageSessions sessions(store);
  EXPECT_EQ(sessions.count(), 2u);
  EXPECT_EQ(sessions.find(token, one, now), one.find(kOne));
  EXPECT_EQ(sessions.find(token, two, now), nullptr) << "its key has gone";
  EXPECT_EQ(sessions.find(std::string(64, '0'), one, now), nullptr);
  const int64_t age = PageSessions::kAgeSeconds;
  EXPECT_EQ(sessions.find(token, one, now + age + 1), nullptr);
  sessions.renew(token, now + age);
  EXPECT_EQ(PageSessions(store).find(token, one, now + 2 * age), one.find(kOne));
  EXPECT_TRUE(sessions.end(token));
  EXPECT_FALSE(sessions.end(token));
  EXPECT_EQ(PageSessions(store).find(token, one, now), nullptr);
  for (size_t i = 0; i < PageSessions::kMost + 5; ++i) token = sessions.begin(*one.find(kOne), now + 1);
  EXPECT_EQ(sessions.count(), PageSessions::kMost);
  EXPECT_EQ(PageSessions(store).count(), PageSessions::kMost);
  EXPECT_NE(sessions.find(token, one, now), nullptr);
}

HttpServerRequest asked(std::string method, std::string path, HttpHeaders headers = {},
                        std::string peer = "1.2.3.4:5") {
  headers.emplace_back("Host", "localhost:8000");
  return {std::move(method), std::move(path), "", std::move(headers), "", "req-1", std::move(peer)};
}

int status_of(KeyAccess& access, const HttpServerRequest& request) {
  try {
    EXPECT_EQ(access.check(request), "one");
    return 200;
  } catch (const ApiError& e) {
    EXPECT_EQ(e.authenticate.empty(), e.status != 401);
    return e.status;
  }
}

class KeyedAccess : public ::testing::Test {
 protected:
  KeyAccess access{KeyRing("", kOne, "one"), std::make_shared<Database>(":memory:"), {}};
  const HttpHeaders right{{"Authorization", cat("Bearer ", kOne)}};
};

TEST_F(KeyedAccess, KeysComeInTwoHeaders) {
  const auto with = [&](const char* name, const std::string& value) {
    return status_of(access, asked("GET", "/models", {{name, value}}));
  };
  EXPECT_EQ(with("Authorization", cat("Bearer ", kOne)), 200);
  EXPECT_EQ(with("authorization", cat("bearer   ", kOne)), 200);
  EXPECT_EQ(with("x-api-key", kOne), 200);
  EXPECT_EQ(with("Authorization", kOne), 401) << "no scheme";
  EXPECT_EQ(with("Authorization", cat("Basic ", kOne)), 401);
  EXPECT_EQ(with("Authorization", "Bearer"), 401);
  EXPECT_EQ(with("Authorization", cat("Bearer ", kOne, " x")), 401);
  EXPECT_EQ(with("x-api-key", ""), 401);
  EXPECT_EQ(with("Accept", "*/*"), 401);
  const KeyCounters counted = access.counters();
  EXPECT_EQ(counted.failures[static_cast<size_t>(KeyFailure::kMissing)], 3u);
  EXPECT_EQ(counted.failures[static_cast<size_t>(KeyFailure::kWrong)], 3u);
}

TEST_F(KeyedAccess, WhoeverGuessesLocksNobodyOut) {
  EXPECT_EQ(status_of(access, asked("GET", "/models", right)), 200);
  const std::string cookie = access.login(asked("POST", "/app/api/login"), kOne);
  int guesses = 0;
  while (status_of(access, asked("GET", "/models", {{"x-api-key", "wrong"}})) == 401) ASSERT_LT(++guesses, 100);
  EXPECT_EQ(guesses, GuessLimiter::kBurst);
  EXPECT_EQ(status_of(access, asked("GET", "/models", right)), 200) << "it has worked from there";
  EXPECT_EQ(status_of(access, asked("GET", "/models", {{"x-api-key", "wrong"}}, "4.3.2.1:5")), 401) << "elsewhere";
  EXPECT_EQ(status_of(access, asked("GET", "/app/api/state", {{"Cookie", cookie.substr(0, cookie.find(';'))}})), 200);
  EXPECT_THROW(access.login(asked("POST", "/app/api/login"), "wrong"), ApiError);
  // A right key that is a first guess there is not looked at.
  KeyAccess other(KeyRing("", kOne, "one"), std::make_shared<Database>(":memory:"), {});
  while (status_of(other, asked("GET", "/models", {{"x-api-key", "wrong"}})) == 401) continue;
  EXPECT_EQ(status_of(other, asked("GET", "/models", right)), 429);
}

TEST_F(KeyedAccess, SessionsAreForOurOwnPage) {
  int ended = 0;
  access.on_ended([&] { ++ended; });
  const std::string set = access.login(asked("POST", "/app/api/login"), kOne);
  EXPECT_TRUE(set.starts_with("fathom_session_8000=")) << set;
  EXPECT_TRUE(set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000")) << set;
  const std::string cookie = set.substr(0, set.find(';'));
  const auto with = [&](HttpHeaders headers) {
    headers.emplace_back("Cookie", "a=b; fathom_session_8000=junk; " + cookie + ";c=d");
    return status_of(access, asked("POST", "/models/load", std::move(headers)));
  };
  EXPECT_EQ(with({}), 200);
  EXPECT_EQ(with({{"Origin", "http://localhost:8000"}}), 200);
  EXPECT_EQ(with({{"Origin", "http://localhost:3000"}}), 403) << "cookies do not know ports";
  EXPECT_EQ(with({{"Sec-Fetch-Site", "same-site"}}), 403);
  EXPECT_EQ(with({{"Authorization", "Basic cHJveHk6cHJveHk="}}), 200) << "a proxy's own";
  EXPECT_EQ(with({{"Authorization", "Bearer wrong"}}), 401) << "a key that is there is meant";
  HttpServerRequest request = asked("POST", "/app/api/logout", {{"Cookie", cookie}});
  EXPECT_TRUE(access.renew(request).value_or("").starts_with(cookie));
  EXPECT_NE(access.logout(request).find("fathom_session_8000=; "), std::string::npos);
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(with({}), 401);
  EXPECT_FALSE(access.renew(request));
  access.logout(request);
  EXPECT_EQ(ended, 1) << "there was none";
}

TEST_F(KeyedAccess, CookiesAreSecureWhereThePageIs) {
  const auto secure = [&](HttpHeaders headers, const std::string& peer) {
    return access.login(asked("POST", "/app/api/login", std::move(headers), peer), kOne).ends_with("; Secure");
  };
  EXPECT_FALSE(secure({{"Origin", "http://localhost:8000"}}, "1.2.3.4:5"));
  EXPECT_TRUE(secure({{"Origin", "https://localhost:8000"}}, "1.2.3.4:5"));
  EXPECT_TRUE(secure({{"X-Forwarded-Proto", "https"}}, "127.0.0.1:5"));
  EXPECT_FALSE(secure({{"X-Forwarded-Proto", "https"}}, "1.2.3.4:5")) << "no proxy of this machine";
}

TEST(Keys, LittleIsForEverybody) {
  for (const char* path : {"/", "/health", "/v1/ready", "/sw.js"})
    EXPECT_TRUE(needs_no_key(asked("GET", path))) << path;
  EXPECT_TRUE(needs_no_key(asked("POST", "/app/api/login")));
  for (const char* path : {"/metrics", "/openapi.json", "/app/api/state", "/app/api/login", "/v1/models", "/nothing"})
    EXPECT_FALSE(needs_no_key(asked("GET", path))) << path;
  for (const char* path : {"/", "/health", "/v1/app/api/login", "/app/api/logins", "/app/api/chats"})
    EXPECT_FALSE(needs_no_key(asked("POST", path))) << path;
}

}  // namespace
}  // namespace fathom
