// TensorBoard's event files: scalars over steps, readable by the tensorboard program and its rivals. Format: records
// {length u64, masked CRC32C of it, data, masked CRC32C of data}, little-endian; data is a protobuf Event, of which we
// write wall_time, step, file_version, summary.value{tag, simple_value} and session_log.
// Called by the trainer. One thread; not synced to the disk: metrics.jsonl is the record, this the view.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace fathom {

/// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected). Source: RFC 3720, appendix B.4.
uint32_t crc32c(std::string_view bytes);

struct Scalar {
  std::string_view tag;
  double value;  ///< written as f32; NaN and infinities too
};

class EventWriter {
 public:
  /// Opens a new file in `folder` (made if absent), behind those that are there. `first_step`: the first step that will
  /// be written; TensorBoard drops what older files say from there on. `wall_time_s`: seconds since 1970.
  EventWriter(const std::filesystem::path& folder, int64_t first_step, double wall_time_s);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;
  /// One event with all these values. Throws ResourceError where the disk is full, Error on another failure.
  void write(int64_t step, double wall_time_s, std::span<const Scalar> scalars);
  const std::filesystem::path& path() const { return path_; }

 private:
  void record(const std::string& event);
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace fathom
