#include "quant/convert_to_hf.h"

#include "quant/convert_safetensors_config.h"
#include "quant/convert_to_hf_config.h"
#include "quant/convert_to_hf_tokenizer.h"
#include "quant/merged_checkpoint.h"

namespace fathom {

namespace fs = std::filesystem;

FolderReport convert_to_hf(const fs::path& gguf, const fs::path& out, const ToHfOptions& options,
                           const WorkProgress& progress) {
  check(!options.type || !torch_dtype(*options.type).empty(), "a folder's type is F32, F16 or BF16");
  const GgufFile file(gguf);
  const std::unique_ptr<Checkpoint> checkpoint = open_merged(gguf, options.folder.adapter);
  FolderReport report;
  report.notes = checkpoint->notes();
  const auto note_all = [&](const std::vector<std::string>& notes) {
    report.notes.insert(report.notes.end(), notes.begin(), notes.end());
  };
  HfPlan plan = plan_hf(file, *checkpoint, options.type);
  note_all(plan.notes);
  const std::string config = hf_config(file, *checkpoint, plan.type, report.notes);
  const std::optional<std::string> generation = hf_generation_config(file.metadata(), *checkpoint, report.notes);
  FolderAside folder(out);
  write_weights(*checkpoint, std::move(plan.weights), folder, options.folder, progress, report);
  const std::optional<TokenizerSpec> tokenizer = checkpoint->tokenizer();
  const size_t context = checkpoint->config().max_position_embeddings;
  for (const auto& [name, text] : hf_tokenizer_files(file.metadata(), tokenizer, context, report.notes))
    folder.write_text(name, text);
  if (tokenizer) note_all(compare_tokenizers(folder.path(), *tokenizer));
  if (generation) folder.write_text("generation_config.json", *generation);
  folder.write_text("config.json", config);
  folder.commit();
  return report;
}

}  // namespace fathom
