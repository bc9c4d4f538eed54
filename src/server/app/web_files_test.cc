#include "server/app/web_files.h"

#include <gtest/gtest.h>

#include "server/api/api_testing.h"
#include "server/app/web_data.h"
#include "server/http/inflate.h"

namespace fathom {
namespace {

using testing::RecordedAnswer;

std::shared_ptr<RecordedAnswer> ask(const std::string& path, HttpHeaders headers = {}, std::string method = "GET") {
  auto answer = std::make_shared<RecordedAnswer>();
  const HttpServerRequest request{std::move(method), path, "", std::move(headers), "", "req-1", "127.0.0.1:1"};
  return send_web_file(request, *answer) ? answer : nullptr;
}

std::string script() {
  for (const WebData& data : web_data())
    if (data.path.ends_with(".js") && data.path.starts_with("/assets/")) return std::string(data.path);
  return "";
}

TEST(WebFiles, ThePageIsServedWithItsRules) {
  const auto page = ask("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->content_type, "text/html; charset=utf-8");
  EXPECT_EQ(page->header("Cache-Control"), "no-cache");
  EXPECT_EQ(page->header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(page->header("Content-Security-Policy").find("unsafe"), std::string::npos);
  EXPECT_NE(page->header("Content-Security-Policy").find("script-src 'self'"), std::string::npos);
  EXPECT_EQ(page->body, ask("/index.html")->body);
  EXPECT_EQ(page->body.find("<script>"), std::string::npos);  // the policy would stop it
}

TEST(WebFiles, HashedFilesAreKeptForever) {
  const auto file = ask(script());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->content_type, "text/javascript; charset=utf-8");
  EXPECT_NE(file->header("Cache-Control").find("immutable"), std::string::npos);
}

TEST(WebFiles, GzipIsForThoseWhoTakeIt) {
  const auto plain = ask("/"), zipped = ask("/", {{"Accept-Encoding", "br;q=1, gzip;q=0.5"}});
  EXPECT_EQ(plain->header("Content-Encoding"), "");
  ASSERT_EQ(zipped->header("Content-Encoding"), "gzip");
  http::Inflater inflater("gzip", zipped->body, 1 << 20);
  while (!inflater.step(1 << 16)) {
  }
  EXPECT_EQ(inflater.take(), plain->body);
  EXPECT_NE(zipped->header("ETag"), plain->header("ETag"));
  EXPECT_EQ(zipped->header("Vary"), "Accept-Encoding");
  EXPECT_EQ(ask("/", {{"Accept-Encoding", "gzip;q=0, br"}})->header("Content-Encoding"), "");
}

TEST(WebFiles, WhatTheClientHasIsNotSentAgain) {
  const std::string etag = ask("/")->header("ETag");
  for (const std::string& known : {etag, "\"other\", W/" + etag, std::string("*")}) {
    const auto answer = ask("/", {{"If-None-Match", known}});
    EXPECT_EQ(answer->status, 304) << known;
    EXPECT_EQ(answer->body, "");
  }
  EXPECT_EQ(ask("/", {{"If-None-Match", "\"other\""}})->status, 200);
}

TEST(WebFiles, NothingElseIsAnswered) {
  for (const char* path : {"/assets/", "/assets/../index.html", "/none", "/index.htm", "/app/api/state", ""})
    EXPECT_FALSE(ask(path)) << path;
  EXPECT_FALSE(ask("/", {}, "POST"));
}

}  // namespace
}  // namespace fathom
