// What strangers write and hub/ parses: headers, names, paths, sizes.
#include <gtest/gtest.h>

#include "base/error.h"
#include "hub/headers.h"
#include "hub/http.h"
#include "hub/names.h"

namespace fathom {
namespace {

TEST(HubHeaders, NextLink) {
  const auto next = [](const char* text) { return next_link(text).value_or("-"); };
  EXPECT_EQ(next("<https://hub/x?cursor=a>; rel=\"next\""), "https://hub/x?cursor=a");
  EXPECT_EQ(next("<https://hub/x>; rel=next"), "https://hub/x");
  EXPECT_EQ(next("<https://hub/x>; REL=\"prev next\""), "https://hub/x");
  EXPECT_EQ(next("</x?a=1,2;3>; title=\"a\"; rel=\"next\""), "/x?a=1,2;3");
  EXPECT_EQ(next("<p>; rel=\"prev\", <n>; rel=\"next\", <l>; rel=\"last\""), "n");
  EXPECT_EQ(next("<p>, <n>;rel=next"), "n");
  EXPECT_EQ(next("<p>; rel=\"nextish\""), "-");
  for (const char* text :
       {"", "<", "<x", "x>; rel=next", "<x>", "<x> rel=next", ",,,", "<x>;", "<x>; rel", "<x>; rel=\""})
    EXPECT_EQ(next(text), "-") << text;
}

TEST(HubHeaders, RetryAfter) {
  constexpr int64_t kNow = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
  EXPECT_EQ(retry_after_s("120", kNow), 120u);
  EXPECT_EQ(retry_after_s(" 0 ", kNow), 0u);
  EXPECT_EQ(retry_after_s("Sun, 06 Nov 1994 08:49:47 GMT", kNow), 10u);
  EXPECT_EQ(retry_after_s("Sun, 06 Nov 1994 08:49:07 GMT", kNow), 0u);
  for (const char* text : {"", "-1", "soon", "1.5", "99999999999999999999999"})
    EXPECT_EQ(retry_after_s(text, kNow), std::nullopt) << text;
}

TEST(HubHeaders, ContentRange) {
  const auto range = content_range("bytes 5-9/20");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5u);
  EXPECT_EQ(range->last, 9u);
  EXPECT_EQ(range->total, 20u);
  EXPECT_EQ(content_range("Bytes 0-0/*")->total, std::nullopt);
  for (const char* text : {"", "bytes", "bytes */20", "bytes 9-5/20", "bytes 0-20/20", "bytes -5/20", "items 0-1/2",
                           "bytes 0-1", "bytes 0-99999999999999999999/5", "bytes 0/1-2"})
    EXPECT_FALSE(content_range(text)) << text;
}

TEST(HubHeaders, StrongEtag) {
  EXPECT_EQ(strong_etag(" \"abc\" "), "\"abc\"");
  for (const char* text : {"", "abc", "W/\"abc\"", "\"", "\"a\"b\"", "\"a b\"", "\"a\r\nX: y\""})
    EXPECT_FALSE(strong_etag(text)) << text;
  EXPECT_FALSE(strong_etag("\"" + std::string(1000, 'x') + "\""));
}

TEST(HubNames, OwnerNameAndFile) {
  const HubName name = parse_hub_name("deepseek-ai/DeepSeek-R1_v1.5:sub/x-Q4_K_M.gguf");
  EXPECT_EQ(name.owner, "deepseek-ai");
  EXPECT_EQ(name.name, "DeepSeek-R1_v1.5");
  EXPECT_EQ(name.file, "sub/x-Q4_K_M.gguf");
  for (const char* text : {"", "a", "a/", "/b", "a/b/c", "a/b:", "a/..", "./b", "a/-b", "a/b:/x", "a/b:../x", "a/b?x",
                           "a /b", "a/b\n", "a/b:x\ny", "https://huggingface.co/a/b"})
    EXPECT_THROW(parse_hub_name(text), UsageError) << text;
  EXPECT_THROW(parse_hub_name(std::string(97, 'a') + "/b"), UsageError);
}

TEST(HubNames, PathsStayBelowTheirFolder) {
  for (const char* path : {"a", "a/b.json", "..a", "a..", "...", ".gitattributes", "ü/ß", "a b"})
    EXPECT_EQ(path_problem(path), "") << path;
  for (const char* path :
       {"", "/", "/a", "..", "a/..", "../a", "a/../b", ".", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\x7f"})
    EXPECT_NE(path_problem(path), "") << path;
  EXPECT_NE(path_problem(std::string("a\0b", 3)), "");
  EXPECT_NE(path_problem(std::string(201, 'x')), "");
}

TEST(HubNames, RevisionsAndQuoting) {
  for (const char* revision : {"main", "v1.0", "refs/pr/3", "0123456789abcdef0123456789abcdef01234567"})
    EXPECT_NO_THROW(check_revision(revision)) << revision;
  for (const char* revision : {"", "-x", "a b", "../x", "a/../b", "a\nb"})
    EXPECT_THROW(check_revision(revision), UsageError) << revision;
  EXPECT_EQ(url_quoted("refs/pr/3", false), "refs%2Fpr%2F3");
  EXPECT_EQ(url_quoted("a b/ü?#%", true), "a%20b/%C3%BC%3F%23%25");
}

TEST(HubNames, Sizes) {
  EXPECT_EQ(size_text(0), "0 bytes");
  EXPECT_EQ(size_text(1), "1 byte");
  EXPECT_EQ(size_text(999), "999 bytes");
  EXPECT_EQ(size_text(1000), "1.00 kB");
  EXPECT_EQ(size_text(12'345), "12.3 kB");
  EXPECT_EQ(size_text(999'499), "999 kB");
  EXPECT_EQ(size_text(999'501), "1.00 MB");
  EXPECT_EQ(size_text(4'920'000'000), "4.92 GB");
  EXPECT_EQ(size_text(UINT64_MAX), "18.4 EB");
}

TEST(HubHttp, Endpoints) {
  const Endpoint hub = Endpoint::parse("https://huggingface.co/");
  EXPECT_EQ(hub.url, "https://huggingface.co");
  EXPECT_EQ(hub.origin, "https://huggingface.co:443");
  EXPECT_TRUE(hub.secure);
  EXPECT_FALSE(hub.loopback);
  EXPECT_TRUE(Endpoint::parse("http://127.0.0.1:80/hf").loopback);
  EXPECT_TRUE(Endpoint::parse("http://[::1]:8000").loopback);
  EXPECT_TRUE(Endpoint::parse("http://localhost").loopback);
  EXPECT_FALSE(Endpoint::parse("http://127.0.0.1.evil.example").loopback);
  for (const char* text :
       {"", "hub", "ftp://hub", "https://a:b@hub", "https://hub/?x=1", "https://hub/#x", "file:///x"})
    EXPECT_THROW(Endpoint::parse(text), UsageError) << text;
}

TEST(HubHttp, OriginsDecideWhoSeesTheToken) {
  EXPECT_EQ(origin_of("https://Hub.example/x"), origin_of("https://hub.example:443/y?z"));
  const auto origin = origin_of("https://hub.example/x");
  for (const char* other : {"http://hub.example/x", "https://hub.example:444/x", "https://hub.example.evil/x",
                            "https://hub.example@evil/x", "https://evil/https://hub.example", "https://hub.example./x"})
    EXPECT_NE(origin_of(other), origin) << other;
  for (const char* none : {"", "x", "file:///etc/passwd", "gopher://x/"}) EXPECT_FALSE(origin_of(none)) << none;
}

TEST(HubHttp, ShownAddressesKeepSecrets) {
  EXPECT_EQ(shown_url("https://cdn/x?X-Amz-Signature=abc#f"), "https://cdn/x");
  EXPECT_EQ(shown_url("https://user:password@hub/x@y"), "https://hub/x@y");
}

}  // namespace
}  // namespace fathom
