// GET /openapi.json: what the server answers to, as OpenAPI 3.1. Every route is in it, for it is made from the routes;
// openapi.cc adds what is known of their fields, with the bounds that the reading of requests keeps.
#pragma once
#include <span>
#include <string>

#include "base/json.h"

namespace fathom {

struct RouteName {
  std::string method, path;
};
/// `keys`: requests need one, but for those to `open` paths.
json::object openapi(std::span<const RouteName> routes, bool keys, std::span<const std::string_view> open);

}  // namespace fathom
