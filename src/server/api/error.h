// What goes wrong with a request, in OpenAI's words; each protocol writes it in its own form.
#pragma once
#include <optional>
#include <string>

#include "base/error.h"

namespace fathom {

class ApiError : public Error {
 public:
  ApiError(int http_status, const std::string& message, std::string error_type = "invalid_request_error",
           std::optional<std::string> parameter = {}, std::optional<std::string> error_code = {})
      : Error(message),
        status(http_status),
        type(std::move(error_type)),
        param(std::move(parameter)),
        code(std::move(error_code)) {}

  int status;
  std::string type;
  std::optional<std::string> param, code;
  std::optional<int> retry_after_s = {};
  std::string allow = {};         ///< with 405: the methods that the path has
  std::string authenticate = {};  ///< with 401: the header WWW-Authenticate
};

/// 400: a field has a wrong type or value.
inline ApiError wrong_field(const std::string& param, const std::string& message) {
  return {400, message, "invalid_request_error", param};
}
/// 404: what the request names does not exist.
inline ApiError not_found(const std::string& message, const std::string& code) {
  return {404, message, "invalid_request_error", std::nullopt, code};
}
/// 400: the prompt is longer than the context.
inline ApiError context_exceeded(const std::string& message) {
  return {400, message, "invalid_request_error", "messages", "context_length_exceeded"};
}

/// What an exception means to the client: Error is its own fault (400), resources and overload are 503 and 429, the
/// rest 500 without details.
ApiError api_error(std::exception_ptr error);

}  // namespace fathom
