#include "train/metrics.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "formats/atomic_file.h"

namespace fathom {
namespace {

constexpr const char* kFormat = "fathom.metrics";
constexpr int64_t kVersion = 1;
constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

/// JSON has no NaN and no infinity.
json::value finite(const json::value& value) {
  if (const double* x = value.if_double(); x && !std::isfinite(*x)) return nullptr;
  if (const json::object* object = value.if_object()) {
    json::object out;
    for (const auto& [key, item] : *object) out[key] = finite(item);
    return out;
  }
  if (const json::array* array = value.if_array()) {
    json::array out;
    for (const json::value& item : *array) out.push_back(finite(item));
    return out;
  }
  return value;
}

std::string line_text(const json::object& line) { return to_json(finite(line)) + "\n"; }

/// The lines read, and where in the file the first line after `last_step`, or a half-written one, begins.
struct Read {
  Metrics metrics;
  size_t end = 0;
};

Read read_until(const std::filesystem::path& path, int64_t last_step) {
  const std::string text = read_text_file(path, kMaxBytes);
  Read out;
  int64_t before = -1;
  size_t number = 0;
  for (size_t at = 0, newline = 0; (newline = text.find('\n', at)) != std::string::npos; at = newline + 1) {
    const std::string what = cat(path.string(), ":", ++number);
    const json::value value = parse_json(std::string_view(text).substr(at, newline - at), what);
    const JsonObject line(value, what);
    if (number == 1) {
      if (line.string_or("format", "") != kFormat || line.integer_or("version", 0) != kVersion)
        throw Error(cat(what, ": expected format ", kFormat, " version ", kVersion, ", found ",
                        line.string_or("format", "none"), " version ", line.integer_or("version", 0)));
      out.metrics.header = line.raw();
    } else {
      const int64_t step = line.integer("step");
      if (step <= before) throw Error(cat(what, ": step: expected more than ", before, ", found ", step));
      if (step > last_step) break;
      before = step;
      out.metrics.steps.push_back(line.raw());
    }
    out.end = newline + 1;
  }
  if (number == 0) throw Error(cat(path.string(), ": expected a header line of ", kFormat, ", found none"));
  return out;
}

}  // namespace

Metrics read_metrics(const std::filesystem::path& path) {
  return read_until(path, std::numeric_limits<int64_t>::max()).metrics;
}

MetricsLog::MetricsLog(const std::filesystem::path& path, const json::object& header) {
  if (std::filesystem::exists(path)) throw Error(cat(path.string(), ": expected no such file, found one"));
  json::object line{{"format", kFormat}, {"version", kVersion}};
  for (const auto& [key, value] : header) line[key] = value;
  const std::string text = line_text(line);
  AtomicFile file(path);  // a process killed here leaves no file without a header
  file.write(text.data(), text.size());
  file.commit();
  file_ = std::make_unique<LineFile>(path, text.size());
}

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t last_step) {
  const Read kept = read_until(path, last_step);
  if (!kept.metrics.steps.empty()) last_step_ = kept.metrics.steps.back().at("step").to_number<int64_t>();
  file_ = std::make_unique<LineFile>(path, kept.end);
}

void MetricsLog::append(const json::object& line) {
  const json::value* step = line.if_contains("step");
  check(step && step->is_int64() && step->get_int64() > last_step_, "steps of metrics ascend");
  file_->append(line_text(line));
  last_step_ = step->get_int64();
}

}  // namespace fathom
