#include "server/http/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

const std::string kType = "multipart/form-data; boundary=\"b\"";

std::string part(const std::string& disposition, const std::string& content) {
  return "--b\r\nContent-Type: x\r\ncontent-disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n";
}

TEST(Form, HasFieldsAndFiles) {
  const std::string bytes("a\r\n--\0\r\n-b--\r\n", 14);
  const auto parts = parse_form(kType, "before\r\n" + part("name=purpose", "batch") +
                                           part(R"(name="file"; filename="C:\\x\\a \"b\".jsonl")", bytes) +
                                           part(R"(filename=../../etc/passwd; name=n)", "") + "--b--\r\nbehind");
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].name, "purpose");
  EXPECT_EQ(parts[0].content, "batch");
  EXPECT_EQ(parts[0].filename, "");
  EXPECT_EQ(parts[1].filename, "a \"b\".jsonl");
  EXPECT_EQ(parts[1].content, bytes);
  EXPECT_EQ(parts[2].filename, "passwd");
  EXPECT_EQ(parts[2].content, "");
}

TEST(Form, WhatIsNoneIsRefused) {
  const std::string good = part("name=a", "x") + "--b--";
  EXPECT_EQ(parse_form(kType, good).size(), 1u);
  EXPECT_EQ(parse_form("Multipart/Form-Data;boundary=b", good).size(), 1u);
  for (const std::string& type : {std::string("application/json"), std::string("multipart/form-data"), std::string(),
                                  "multipart/form-data; boundary=" + std::string(71, 'b')})
    EXPECT_THROW(parse_form(type, good), Error) << type;
  // Every cut of it, and of one with a long head or too many parts.
  for (size_t n = 0; n < good.size(); ++n) EXPECT_THROW(parse_form(kType, good.substr(0, n)), Error) << n;
  EXPECT_THROW(parse_form(kType, part("name=" + std::string(20'000, 'x'), "") + "--b--"), Error);
  std::string many;
  for (int i = 0; i < 33; ++i) many += part("name=a", "");
  EXPECT_THROW(parse_form(kType, many + "--b--"), Error);
  EXPECT_THROW(parse_form(kType, part("filename=x", "") + "--b--"), Error);
  // A file with a line that begins as the end does is not cut off there.
  EXPECT_THROW(parse_form(kType, part("name=a", "x\r\n--b--y\r\nz") + "--b--"), Error);
  EXPECT_EQ(parse_form(kType, part("name=a", "x") + "--b-- \t\r\n").size(), 1u);
  EXPECT_THROW(parse_form(kType, "--b\r\nno header\r\n\r\nx\r\n--b--"), Error);
}

}  // namespace
}  // namespace fathom
