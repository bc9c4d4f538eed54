#include "formats/absent_file.h"
#include "formats/config_gguf.h"
#include "formats/gguf_reader.h"
#include "formats/model_header_files.h"
#include "formats/tokenizer_gguf.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// Types of other programs and of later versions, by their ids (spec/gguf.md 1.2).
std::string foreign_name(uint32_t id) {
  switch (id) {
    case 34: return "TQ1_0";
    case 35: return "TQ2_0";
    case 40: return "NVFP4";
    case 41: return "Q1_0";
    case 42: return "Q2_0";
    default: return cat("type ", id);
  }
}

/// Adds one part; `number` counts from 0. Its metadata is returned.
GgufMetadata add_part(const fs::path& path, uint64_t number, uint64_t count, ModelHeader& out) {
  const InputFile file(path);
  GgufHeader header = GgufReader(file, /*lenient=*/true).read();
  ModelFile entry{.path = path, .size_bytes = file.size()};
  entry.needed_bytes = header.needed_bytes;
  entry.header_bytes = header.header_bytes;
  entry.tensors = header.ranges.size();
  judge_length(entry);
  const uint64_t found = header.metadata.integer("split.no").value_or(0),
                 found_count = header.metadata.integer("split.count").value_or(0);
  if (found != number) out.problems.push_back(cat(path.string(), ": split.no: expected ", number, ", found ", found));
  if (std::max<uint64_t>(found_count, 1) != count)
    out.problems.push_back(
        cat(path.string(), ": split.count: expected ", count, " as in the name, found ", found_count));
  for (size_t i = 0; i < header.ranges.size(); ++i) {
    StoredRange& range = header.ranges[i];
    const auto foreign = header.foreign_types.find(i);
    const bool known = foreign == header.foreign_types.end();
    std::string type = known ? info(range.info.dtype).name : foreign_name(foreign->second);
    out.tensors.push_back({std::move(range.info), std::move(type), known, out.files.size(), range.offset});
  }
  out.files.push_back(std::move(entry));
  if (number == 0) out.format = cat("GGUF v", header.version);
  return std::move(header.metadata);
}

void read_parts(const fs::path& path, const GgufSplitName& name, ModelHeader& out) {
  for (uint64_t number = 1; number <= name.count; ++number) {
    const fs::path part = gguf_part_path(path.parent_path(), name, number);
    std::error_code ignored;
    const bool here = fs::exists(part, ignored);
    const auto state = here ? ModelFile::State::kBroken : ModelFile::State::kMissing;
    add_file_or_problem(out, part, state, [&] {
      require_present(part, cat("part ", number, " of ", name.count));
      GgufMetadata metadata = add_part(part, number - 1, name.count, out);
      if (number == 1) out.gguf = std::move(metadata);
    });
  }
  if (!out.gguf) out.problems.push_back("the first part, which has the model's metadata, is not here");
}

/// Names given twice are found by the reader within a file; here, between parts.
void check_between_parts(ModelHeader& out) {
  if (out.files.size() > 1 && out.files_here() == out.files.size()) {
    std::map<std::string_view, size_t> seen;
    for (const HeaderTensor& t : out.tensors)
      if (!seen.emplace(t.info.name, t.file).second)
        out.problems.push_back(cat("tensor ", printable(t.info.name), " is in two parts"));
    const std::optional<uint64_t> total = out.gguf ? out.gguf->integer("split.tensors.count") : std::nullopt;
    if (total && *total != out.tensors.size())
      out.problems.push_back(
          cat("split.tensors.count: expected ", *total, " tensors in all parts, found ", out.tensors.size()));
  }
}

void read_config(ModelHeader& out) {
  std::map<std::string_view, const Shape*> shapes;
  for (const HeaderTensor& t : out.tensors) shapes.emplace(t.info.name, &t.info.shape);
  const auto shape_of = [&](std::string_view name) -> const Shape* {
    const auto it = shapes.find(name);
    return it == shapes.end() ? nullptr : it->second;
  };
  try {
    out.config = config_from_gguf(*out.gguf, shape_of, &out.notes);
  } catch (const Error& e) {
    out.config_problem = e.what();
  }
}

}  // namespace

void read_gguf_header(const fs::path& path, ModelHeader& out) {
  out.kind = ModelHeader::Kind::kGguf;
  out.format = "GGUF";
  const std::optional<GgufSplitName> name = gguf_split_name(path.filename().string());
  if (name && name->count > 1) {
    read_parts(path, *name, out);
    if (out.files_here() == 0) throw Error(out.files.front().problem);
  } else {
    out.gguf = add_part(path, 0, 1, out);
  }
  if (!out.gguf) return;
  check_between_parts(out);
  read_config(out);
}

}  // namespace fathom
