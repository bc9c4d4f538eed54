#include "server/api/fields.h"

#include <algorithm>
#include <cmath>

#include "server/api/error.h"

namespace fathom {
namespace {

const json::object& object_of(const json::value& value, const std::string& path) {
  if (const json::object* object = value.if_object()) return *object;
  throw wrong_field(
      path, cat(path.empty() ? "the body" : path, ": expected a JSON object, found ", json::to_string(value.kind())));
}

}  // namespace

Fields::Fields(const json::value& value, std::string path) : object_(object_of(value, path)), path_(std::move(path)) {}

std::string Fields::path(std::string_view key) const { return path_.empty() ? std::string(key) : cat(path_, ".", key); }

const json::value* Fields::take(std::string_view key) {
  seen_.emplace(key);
  const json::value* value = object_.if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

bool Fields::has(std::string_view key) const {
  const json::value* value = object_.if_contains(key);
  return value && !value->is_null();
}

std::optional<double> Fields::number(std::string_view key, double least, double most) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_number())
    throw wrong_field(path(key), cat(path(key), ": expected a number, found ", json::to_string(value->kind())));
  const double x = value->to_number<double>();
  if (!(x >= least && x <= most))
    throw wrong_field(path(key), cat(path(key), ": expected a number from ", least, " to ", most, ", found ", x));
  return x;
}

std::optional<int64_t> Fields::integer(std::string_view key, int64_t least, int64_t most) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  std::optional<int64_t> x;
  if (value->is_int64()) x = value->get_int64();
  if (value->is_uint64() && value->get_uint64() <= INT64_MAX) x = static_cast<int64_t>(value->get_uint64());
  if (value->is_double() && std::abs(value->get_double()) < 9e15 &&
      std::trunc(value->get_double()) == value->get_double())
    x = static_cast<int64_t>(value->get_double());
  if (!x || *x < least || *x > most) {
    const std::string found = value->is_number() ? to_json(*value) : std::string(json::to_string(value->kind()));
    throw wrong_field(path(key), cat(path(key), ": expected an integer from ", least, " to ", most, ", found ", found));
  }
  return x;
}

std::optional<bool> Fields::boolean(std::string_view key) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_bool())
    throw wrong_field(path(key), cat(path(key), ": expected true or false, found ", json::to_string(value->kind())));
  return value->get_bool();
}

std::optional<std::string> Fields::string(std::string_view key) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_string())
    throw wrong_field(path(key), cat(path(key), ": expected a string, found ", json::to_string(value->kind())));
  return std::string(value->get_string());
}

const json::array* Fields::array(std::string_view key) {
  const json::value* value = take(key);
  if (value && !value->is_array())
    throw wrong_field(path(key), cat(path(key), ": expected a list, found ", json::to_string(value->kind())));
  return value ? &value->get_array() : nullptr;
}

const json::object* Fields::object(std::string_view key) {
  const json::value* value = take(key);
  if (value && !value->is_object())
    throw wrong_field(path(key), cat(path(key), ": expected an object, found ", json::to_string(value->kind())));
  return value ? &value->get_object() : nullptr;
}

const json::value* Fields::any(std::string_view key) { return take(key); }

std::vector<std::string> Fields::strings(std::string_view key, size_t most) {
  const json::value* value = take(key);
  std::vector<std::string> out;
  if (!value) return out;
  if (value->is_string()) return {std::string(value->get_string())};
  const auto wrong = [&] {
    throw wrong_field(path(key), cat(path(key), ": expected a string or a list of at most ", most, " strings"));
  };
  if (!value->is_array() || value->get_array().size() > most) wrong();
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) wrong();
    out.emplace_back(item.get_string());
  }
  return out;
}

json::object Fields::metadata() {
  const json::object* given = object("metadata");
  const auto fits = [](const auto& entry) {
    return entry.key().size() <= 64 && entry.value().is_string() && entry.value().get_string().size() <= 512;
  };
  if (given && (given->size() > 16 || !std::ranges::all_of(*given, fits)))
    throw wrong_field(path("metadata"),
                      cat(path("metadata"), ": expected at most 16 strings of 512 bytes, with names of 64"));
  return given ? *given : json::object();
}

void Fields::silent(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) seen_.emplace(key);
}

std::vector<std::string> Fields::left_over() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : object_)
    if (!value.is_null() && !seen_.contains(std::string_view(key))) out.push_back(path(key));
  return out;
}

void Fields::name_left_over(std::vector<std::string>& warnings) const {
  const size_t most = path_.find('[') == std::string::npos ? kMostNamed + 1 : kMostNamed / 2;
  if (warnings.size() >= most) return;
  for (std::string& name : left_over())
    if (warnings.size() < most) warnings.push_back(std::move(name));
}

}  // namespace fathom
