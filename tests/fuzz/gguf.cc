#include "formats/gguf.h"

#include <algorithm>

#include "formats/config_gguf.h"
#include "formats/gguf_writer.h"
#include "formats/mapped_checkpoint.h"
#include "formats/tokenizer_gguf.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"

namespace fathom::fuzz {
namespace {

/// Calls f; what it refuses is right.
template <class F>
void refusing(F&& f) {
  try {
    f();
  } catch (const Error&) {
  }
}

void ask_everything(const GgufMetadata& metadata) {
  for (const GgufMetadata::Entry& entry : metadata.entries()) {
    check(metadata.has(entry.key), "a key that is not found");
    refusing([&] { metadata.integer(entry.key); });
    refusing([&] { metadata.number(entry.key); });
    refusing([&] { metadata.boolean(entry.key); });
    refusing([&] { metadata.string(entry.key); });
    refusing([&] { check(metadata.strings(entry.key).size() == entry.count, "strings were lost"); });
    refusing([&] { check(metadata.integers(entry.key).size() == entry.count, "integers were lost"); });
  }
}

void check_same(const GgufMetadata& a, const GgufMetadata& b) {
  size_t at = 0;
  for (const GgufMetadata::Entry& x : a.entries()) {
    if (x.key == "general.alignment") continue;  // the writer has its own
    check(at < b.entries().size(), "writing lost a key");
    const GgufMetadata::Entry& y = b.entries()[at++];
    check(x.key == y.key && x.type == y.type && x.element == y.element && x.count == y.count &&
              a.value_bytes(x) == b.value_bytes(y),
          "writing changed a key");
  }
  check(at == b.entries().size(), "writing added a key");
}

/// Written and read again, the file says the same. The writer refuses some names and types: that is its contract.
void write_and_read(const GgufFile& file) {
  GgufKeys keys;
  keys.copy(file.metadata());
  const std::filesystem::path path = scratch_folder() / "written.gguf";
  try {
    GgufWriter writer(path, keys, file.tensors());
    for (const TensorInfo& t : file.tensors()) {
      const Tensor data = file.tensor(t.name);
      writer.write({data.bytes(), data.size_bytes()});
    }
    writer.commit();
  } catch (const Error&) {
    return;
  }
  const GgufFile again(path);
  check_same(file.metadata(), again.metadata());
  check(file.tensors().size() == again.tensors().size(), "writing changed the number of tensors");
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    check(file.tensors()[i].name == again.tensors()[i].name, "writing changed a name");
    check(same(file.tensor(file.tensors()[i].name), again.tensor(again.tensors()[i].name)), "writing changed a tensor");
  }
}

void find_some(const std::filesystem::path& path) {
  const std::unique_ptr<Checkpoint> checkpoint = open_gguf(path);
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.0.self_attn.k_b_proj.weight", "model.layers.1.mlp.experts.1.gate_proj.weight",
                           "model.layers.1.mlp.experts.0.down_proj.weight"})
    refusing([&] {
      if (checkpoint->has(name)) dequantize_small(checkpoint->find(name).data);
    });
  for (size_t i = 0; i < checkpoint->tensors().size(); ++i) checkpoint->stored(i);
}

}  // namespace

void gguf(std::string_view input) {
  const std::filesystem::path& path = file_with(input);
  refusing([&] {
    const GgufFile file(path);
    ask_everything(file.metadata());
    for (const TensorInfo& t : file.tensors()) dequantize_small(file.tensor(t.name));
    refusing([&] { generation_config_from_gguf(file.metadata()); });
    refusing([&] {
      if (std::optional<TokenizerSpec> spec = tokenizer_from_gguf(file.metadata())) exercise(std::move(*spec));
    });
    refusing([&] {
      config_from_gguf(file);
      find_some(path);
    });
    write_and_read(file);
  });
}

}  // namespace fathom::fuzz
