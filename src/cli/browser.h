// The desktop's browser, for programs that end in a page.
#pragma once
#include <string>

namespace fathom {

/// Asks the desktop to show `url`, without waiting for it. False: there is no desktop here, or nothing that opens
/// pages.
bool open_in_browser(const std::string& url);

}  // namespace fathom
