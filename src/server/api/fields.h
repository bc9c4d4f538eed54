// The fields of a request: typed reading with bounds and errors that name the field, and the account of what was not
// understood, so that nothing is ignored silently. One thread.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace fathom {

/// Fields that the warning header names; of more it says that there are more.
inline constexpr size_t kMostNamed = 20;

class Fields {
 public:
  /// `path`: of the object in the request, "" for the request itself; errors name `path.key`. The object must outlive
  /// this. Throws ApiError if the value is no object.
  explicit Fields(const json::value& value, std::string path = "");

  /// Each throws ApiError for a value of another type or out of bounds. Absent and null are nullopt.
  std::optional<double> number(std::string_view key, double least, double most);
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::string> string(std::string_view key);
  const json::array* array(std::string_view key);    ///< null: absent
  const json::object* object(std::string_view key);  ///< null: absent
  /// Of any type; null: absent.
  const json::value* any(std::string_view key);
  /// A string, or a list of strings.
  std::vector<std::string> strings(std::string_view key, size_t most);
  bool has(std::string_view key) const;
  /// OpenAI's `metadata`: at most 16 short strings.
  json::object metadata();

  /// Fields that say something about the request and want no answer, such as `user`.
  void silent(std::initializer_list<std::string_view> keys);
  /// Names of the fields that have a value and were never asked for, as paths.
  std::vector<std::string> left_over() const;
  /// Adds those, as many as a header may name, and fewer of what stands within lists, so that the others have room.
  void name_left_over(std::vector<std::string>& warnings) const;

  std::string path(std::string_view key) const;

 private:
  const json::value* take(std::string_view key);

  const json::object& object_;
  std::string path_;
  std::set<std::string, std::less<>> seen_;
};

}  // namespace fathom
