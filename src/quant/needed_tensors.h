// Which tensors a model computes with, by its configuration: models/ asks for the same ones. Called by the conversion
// to GGUF, so that a folder that lost some of its tensors is found out there. No state: thread-safe.
#pragma once
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace fathom {

/// The names of tensors that `checkpoint` should have and has not, in the order of the layers; at most `most` of them.
/// mtp_layers: how many MTP modules count. Left aside are those that a model may do without: biases beyond
/// attention_bias, an MTP module's own embedding, head and norm.
std::vector<std::string> missing_tensors(const Checkpoint& checkpoint, size_t mtp_layers, size_t most);

}  // namespace fathom
