// The event files, taken apart by a reader of this file's own: CRC bit by bit, protobuf fields by wire type.
#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using testing::read_file;
using testing::TempDir;

/// Polynomial division, one bit at a time.
uint32_t slow_crc(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      const bool low = (crc ^ (static_cast<unsigned char>(c) >> bit)) & 1;
      crc >>= 1;
      if (low) crc ^= 0x82F63B78;
    }
  return crc ^ 0xFFFFFFFF;
}

template <class T>
T take(std::string_view& data) {
  T x;
  check(data.size() >= sizeof x, "short data");
  std::memcpy(&x, data.data(), sizeof x);
  data.remove_prefix(sizeof x);
  return x;
}

uint64_t take_varint(std::string_view& data) {
  uint64_t x = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(data);
    x |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return x;
  }
}

/// Field number -> the raw values of that field, in order: fixed ones as their bytes, varints as 8 bytes.
std::multimap<int, std::string> fields(std::string_view message) {
  std::multimap<int, std::string> out;
  while (!message.empty()) {
    const uint64_t key = take_varint(message);
    size_t size = 0;
    std::string value;
    switch (key & 7) {
      case 0: {
        const uint64_t x = take_varint(message);
        value.assign(reinterpret_cast<const char*>(&x), sizeof x);
        break;
      }
      case 1: size = 8; break;
      case 2: size = take_varint(message); break;
      case 5: size = 4; break;
      default: check(false, "an unknown wire type");
    }
    check(size <= message.size(), "short field");
    value += message.substr(0, size);
    message.remove_prefix(size);
    out.emplace(static_cast<int>(key >> 3), value);
  }
  return out;
}

template <class T>
T as(const std::string& bytes) {
  std::string_view view = bytes;
  return take<T>(view);
}

std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> out;
  for (std::string_view data = file; !data.empty();) {
    const std::string_view length_bytes = data.substr(0, 8);
    const auto length = take<uint64_t>(data);
    const auto unmask = [](uint32_t x) { return (x - 0xA282EAD8u) << 15 | (x - 0xA282EAD8u) >> 17; };
    EXPECT_EQ(unmask(take<uint32_t>(data)), slow_crc(length_bytes));
    out.emplace_back(data.substr(0, length));
    data.remove_prefix(length);
    EXPECT_EQ(unmask(take<uint32_t>(data)), slow_crc(out.back()));
  }
  return out;
}

TEST(TensorBoard, CrcIsCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(TensorBoard, EventsReadBack) {
  const TempDir dir;
  const std::filesystem::path folder = dir.path() / "events";
  EventWriter writer(folder, 0, 1700000000.25);
  const std::string long_tag(300, 't');
  const Scalar scalars[] = {{"loss", 2.25}, {long_tag, -1e30}};
  writer.write(300, 1700000001.5, scalars);
  const std::vector<std::string> events = records(read_file(writer.path()));
  ASSERT_EQ(events.size(), 2u);
  const auto first = fields(events[0]), second = fields(events[1]);
  EXPECT_EQ(first.find(3)->second, "brain.Event:2");
  EXPECT_EQ(as<double>(first.find(1)->second), 1700000000.25);
  EXPECT_EQ(as<double>(second.find(1)->second), 1700000001.5);
  EXPECT_EQ(as<uint64_t>(second.find(2)->second), 300u);
  const auto values = fields(second.find(5)->second);
  ASSERT_EQ(values.count(1), 2u);
  const auto loss = fields(values.begin()->second), other = fields(std::next(values.begin())->second);
  EXPECT_EQ(loss.find(1)->second, "loss");
  EXPECT_EQ(as<float>(loss.find(2)->second), 2.25f);
  EXPECT_EQ(other.find(1)->second, long_tag);
  EXPECT_EQ(as<float>(other.find(2)->second), -1e30f);
}

TEST(TensorBoard, ResumeOpensALaterFileAndSaysFromWhere) {
  const TempDir dir;
  const std::string first = EventWriter(dir.path(), 0, 1e9).path().filename();
  const std::string before = read_file(dir.path() / first);
  const EventWriter resumed(dir.path(), 41, 1e9);
  const std::string second = resumed.path().filename();
  EXPECT_LT(first, second);
  EXPECT_LT(second, EventWriter(dir.path(), 41, 1e9 + 1).path().filename().string());
  EXPECT_EQ(read_file(dir.path() / first), before);
  const auto start = fields(records(read_file(resumed.path())).at(1));
  EXPECT_EQ(as<uint64_t>(start.find(2)->second), 41u);
  EXPECT_EQ(as<uint64_t>(fields(start.find(7)->second).find(1)->second), 1u);
}

}  // namespace
}  // namespace fathom
