#include "server/app/app_access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "server/api/error.h"
#include "server/http/target.h"

namespace fathom {
namespace {

bool is_address(const std::string& host) {
  if (host.starts_with('[')) return true;
  std::array<unsigned char, 4> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1;
}

ApiError forbidden(const std::string& message) { return {403, message, "permission_error", {}, "forbidden"}; }

}  // namespace

void check_app_access(const HttpServerRequest& request, const std::vector<std::string>& names, bool json_only) {
  const std::string authority(request.header("Host").value_or(""));
  const std::string host = http::host_name(authority);
  const auto same = [&](const std::string& name) {
    return http::same_letters(name, host) || http::same_letters(name, authority);
  };
  if (!host.empty() && host != "localhost" && !is_address(host) && std::ranges::none_of(names, same))
    throw forbidden(cat("the header Host: expected localhost, an address or one of the allowed hosts, found '",
                        authority.substr(0, 200), "'"));
  if (const auto origin = request.header("Origin")) {
    const auto ours = [&](std::string_view scheme) {
      return origin->starts_with(scheme) && http::same_letters(origin->substr(scheme.size()), authority);
    };
    if (!ours("http://") && !ours("https://")) throw forbidden("the header Origin: the app answers its own page only");
  }
  if (const auto site = request.header("Sec-Fetch-Site"); site && *site != "same-origin" && *site != "none")
    throw forbidden("the header Sec-Fetch-Site: the app answers its own page only");
  if (!json_only || request.body.empty()) return;
  const std::string_view type = request.header("Content-Type").value_or("");
  if (!http::same_letters(trimmed(type.substr(0, type.find(';'))), "application/json"))
    throw ApiError(415, cat("the header Content-Type: expected application/json, found '", type.substr(0, 100), "'"));
}

}  // namespace fathom
