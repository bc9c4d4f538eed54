// The processor's name for reports. No state: thread-safe.
#pragma once
#include <string>

namespace fathom {

/// The name, which virtual machines shorten, and what tells kinds of cores apart: "AMD EPYC (family 25, model 1)".
std::string processor_name();

}  // namespace fathom
