// What `fathom inspect` says of a model, as one JSON object: the printed form (inspect_print.h) and the difference of
// two models (inspect_diff.h) are made from it, so that no form knows more than another. Main thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "cli/settings.h"
#include "formats/model_header.h"

namespace fathom {

/// The model's hyper-parameters by config.json's names, of an unknown architecture those that go by the usual names;
/// rope_scaling's are under "rope".
json::object config_facts(const ModelHeader& header);

/// {total, active, embedding, routed_experts, mtp, scales, other, source}: source "tensors", or "configuration" where
/// the tensors are not all here; then the numbers are what the configuration implies, and `here` counts those present.
json::object parameter_facts(const ModelHeader& header, const json::object& config);

/// The whole report, without hashes of content. "run_problem" says why the model is not "runnable". `batch`: sequences
/// at once, for the memory. Throws UsageError for an impossible setting.
json::object inspect_report(const ModelHeader& header, const Settings& settings, uint64_t batch);

/// {name, type, shape, bytes, offset, file} of every tensor, in the files' order; shapes outermost dimension first.
json::array tensor_table(const ModelHeader& header);

/// A value of GGUF metadata: long strings and arrays as {"string_bytes": n} and {"array": type, "count": n}.
json::value gguf_value(const GgufMetadata& metadata, const GgufMetadata::Entry& entry);

/// A string of GGUF metadata; "" where the key is absent or has another type.
std::string gguf_text(const GgufMetadata& metadata, std::string_view key);

/// Hex SHA-256 of the first `size` bytes of a file.
std::string sha256_of_start(const std::filesystem::path& path, uint64_t size);

}  // namespace fathom
