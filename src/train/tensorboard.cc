#include "train/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}();

/// So that a checksum of data that holds checksums is still a good one (TFRecord's format).
uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8u; }

template <class T>
void put_le(std::string& out, T x) {
  for (size_t i = 0; i < sizeof x; ++i) out += static_cast<char>(x >> 8 * i & 0xFF);
}

void put_varint(std::string& out, uint64_t x) {
  for (; x >= 0x80; x >>= 7) out += static_cast<char>((x & 0x7F) | 0x80);
  out += static_cast<char>(x);
}

// Protobuf fields: (number << 3 | wire type), then the value.
void put_varint_field(std::string& out, int number, uint64_t x) {
  put_varint(out, static_cast<uint64_t>(number) << 3 | 0);
  put_varint(out, x);
}
void put_double_field(std::string& out, int number, double x) {
  put_varint(out, static_cast<uint64_t>(number) << 3 | 1);
  put_le(out, std::bit_cast<uint64_t>(x));
}
void put_bytes_field(std::string& out, int number, std::string_view bytes) {
  put_varint(out, static_cast<uint64_t>(number) << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_float_field(std::string& out, int number, float x) {
  put_varint(out, static_cast<uint64_t>(number) << 3 | 5);
  put_le(out, std::bit_cast<uint32_t>(x));
}

// Field numbers of Event (event.proto) and Summary (summary.proto).
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr int kSummaryValue = 1, kTag = 1, kSimpleValue = 2;
constexpr int kStatus = 1, kStatusStart = 1;

std::string event_at(int64_t step, double wall_time_s) {
  std::string event;
  put_double_field(event, kWallTime, wall_time_s);
  put_varint_field(event, kStep, static_cast<uint64_t>(step));
  return event;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

EventWriter::EventWriter(const std::filesystem::path& folder, int64_t first_step, double wall_time_s) {
  std::filesystem::create_directories(folder);
  // Readers take the files in the order of their names. The time stands first; a number keeps them apart and in order
  // where the clock did not move on.
  for (int number = 0; fd_ < 0; ++number) {
    char name[64];
    std::snprintf(name, sizeof name, "events.out.tfevents.%010lld.fathom.%06d", static_cast<long long>(wall_time_s),
                  number);
    path_ = folder / name;
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd_ < 0 && errno != EEXIST) throw Error(cat(path_.string(), ": cannot be created: ", std::strerror(errno)));
  }
  std::string version;
  put_double_field(version, kWallTime, wall_time_s);
  put_bytes_field(version, kFileVersion, "brain.Event:2");
  record(version);
  if (first_step <= 0) return;
  std::string start, event = event_at(first_step, wall_time_s);
  put_varint_field(start, kStatus, kStatusStart);
  put_bytes_field(event, kSessionLog, start);
  record(event);
}

EventWriter::~EventWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void EventWriter::write(int64_t step, double wall_time_s, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    put_bytes_field(value, kTag, scalar.tag);
    put_float_field(value, kSimpleValue, static_cast<float>(scalar.value));
    put_bytes_field(summary, kSummaryValue, value);
  }
  std::string event = event_at(step, wall_time_s);
  put_bytes_field(event, kSummary, summary);
  record(event);
}

void EventWriter::record(const std::string& event) {
  std::string out;
  put_le(out, static_cast<uint64_t>(event.size()));
  put_le(out, masked(crc32c(out)));
  out += event;
  put_le(out, masked(crc32c(event)));
  for (size_t done = 0; done < out.size();) {
    const ssize_t n = ::write(fd_, out.data() + done, out.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const std::string message = cat(path_.string(), ": writing failed: ", std::strerror(errno));
      if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) throw ResourceError(message);
      throw Error(message);
    }
    done += static_cast<size_t>(n);
  }
}

}  // namespace fathom
