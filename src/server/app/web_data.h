// The bytes of web/dist, as cmake/web_files.cmake put them in.
#pragma once
#include <span>
#include <string_view>

namespace fathom {

struct WebData {
  std::string_view path;  ///< "/index.html", "/assets/index-abc.js"
  std::string_view bytes;
};

/// In the order of their paths.
std::span<const WebData> web_data();

}  // namespace fathom
