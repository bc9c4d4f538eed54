#include "cli/processor.h"

#include <fstream>
#include <map>

#include "base/error.h"
#include "cli/sanitize.h"

namespace fathom {

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  std::map<std::string, std::string> found;  // of the first processor
  for (std::string line; std::getline(in, line) && !line.empty();)
    if (const size_t colon = line.find(": "); colon != std::string::npos)
      found.emplace(line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1), line.substr(colon + 2));
  if (!found.contains("model name")) return "unknown processor";
  std::string name = found["model name"];
  if (found.contains("cpu family")) name += cat(" (family ", found["cpu family"], ", model ", found["model"], ")");
  return sanitized(name);
}

}  // namespace fathom
