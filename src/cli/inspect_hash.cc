#include "cli/inspect_hash.h"

#include <algorithm>
#include <map>

#include "cli/long_work.h"
#include "engine/identity.h"
#include "hub/sha.h"
#include "text/utf8.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string hash_file_shown(const fs::path& path, uint64_t& done, uint64_t total, LongWork& work) {
  constexpr uint64_t kStep = 4 << 20;
  const InputFile file(path);
  Sha256 hash;
  std::string block;
  for (uint64_t at = 0; at < file.size(); at += block.size()) {
    block.resize(std::min(kStep, file.size() - at));
    file.read(at, block.data(), block.size());
    hash.update(block);
    work.step(done += block.size(), total);
  }
  return hash.hex();
}

/// Files of a folder that have no tensors: they get entries of their own.
void add_other_files(const ModelHeader& header, json::array& files) {
  std::map<std::string, fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(header.path))
    if (entry.is_regular_file()) others[utf8_lossy(entry.path().filename().string())] = entry.path();
  for (const json::value& file : files) others.erase(std::string(file.at("name").as_string()));
  for (const auto& [name, path] : others)
    files.push_back(json::object{{"name", name}, {"state", "whole"}, {"bytes", fs::file_size(path)}, {"tensors", 0}});
}

void add_weights_id(const ModelHeader& header, json::object& report, uint64_t done, uint64_t total, LongWork& work) {
  report["weights_id"] = nullptr;
  try {
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(header.path);
    report["weights_id"] = weights_id(*checkpoint, [&](uint64_t bytes, uint64_t) { work.step(done + bytes, total); });
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    report["weights_id_problem"] = utf8_lossy(e.what());
  }
}

}  // namespace

bool add_hashes(const ModelHeader& header, json::object& report) {
  LongWork work("hashing");
  json::array& files = report.at("files").as_array();
  const size_t with_tensors = files.size();
  if (header.kind == ModelHeader::Kind::kFolder) add_other_files(header, files);
  uint64_t done = 0, total = report.at("tensor_bytes").to_number<uint64_t>();
  for (const json::value& file : files) total += file.at("bytes").to_number<uint64_t>();
  bool equal = true;
  for (size_t i = 0; i < files.size(); ++i) {
    json::object& file = files[i].as_object();
    if (file.at("state") == "missing") continue;
    const fs::path path =
        i < with_tensors ? header.files[i].path : header.path / std::string(file.at("name").as_string());
    file["sha256"] = hash_file_shown(path, done, total, work);
    const json::value* recorded = file.if_contains("recorded_sha256");
    if (!recorded) continue;
    const bool same = *recorded == file.at("sha256");
    file["hash_check"] = same ? "equal" : "differs";
    equal = equal && same;
  }
  add_weights_id(header, report, done, total, work);
  return equal;
}

}  // namespace fathom
