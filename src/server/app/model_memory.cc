#include "server/app/model_memory.h"

#include <algorithm>

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostKnown = 1000;
constexpr size_t kLeastCtx = 4096;  // DESIGN.md 4

/// Of the files that a model may be of: the folder's own, or those beside a GGUF's first part.
void look_at(const fs::path& path, fs::file_time_type& modified, uint64_t& bytes) {
  std::error_code error;
  const auto add = [&](const fs::path& file) {
    if (!fs::is_regular_file(file, error)) return;
    if (const uint64_t n = fs::file_size(file, error); !error) bytes += n;
    if (const auto time = fs::last_write_time(file, error); !error) modified = std::max(modified, time);
  };
  if (!fs::is_directory(path, error)) return add(path);
  for (const auto& entry : fs::directory_iterator(path, error)) add(entry.path());
}

}  // namespace

MemoryRoom memory_room(const ModelHost& host) {
  uint64_t promised = 0;
  MemoryRoom room;
  for (const auto& m : host.models()) {
    const std::shared_ptr<LoadedModel> model = m->base.empty() ? host.loaded(m->name) : nullptr;
    if (!model) continue;
    const uint64_t used = model->stats().used_pages * model->engine().kv_layout().page_bytes;
    const uint64_t pool = model->engine().pool_bytes();
    promised += pool - std::min(pool, used);
    room.reclaimable += model->engine().info().weight_bytes + used;
  }
  const uint64_t available = available_memory_bytes();
  const uint64_t kept = std::min(promised, available);
  room.free = available - kept;
  room.reclaimable += kept;
  return room;
}

const char* fits(uint64_t bytes, const MemoryRoom& room) {
  return bytes <= room.free ? "now" : bytes <= room.all() ? "after_unloading" : "no";
}

ModelMemory::Header ModelMemory::read(const HostedModel& model) {
  Header out;
  try {
    const ModelHeader header = read_model_header(model.path);
    for (const ModelFile& file : header.files) out.size_bytes += file.size_bytes;
    if (!header.complete())
      out.problem = "the model is not complete";
    else if (!(out.estimate = estimate_memory(header, 0, model.options)))
      out.problem = header.config_problem.empty() ? "it has no weights" : header.config_problem;
    else
      out.config = *header.config;
  } catch (const Error& e) {
    out.problem = e.what();
  }
  return out;
}

ModelMemory::Header ModelMemory::header(const HostedModel& model) {
  Header now;
  now.modified = fs::file_time_type::min();
  look_at(model.path, now.modified, now.stamp_bytes);
  {
    const std::lock_guard lock(mutex_);
    const auto known = headers_.find(model.path);
    if (known != headers_.end() && known->second.modified == now.modified &&
        known->second.stamp_bytes == now.stamp_bytes)
      return known->second;
  }
  Header fresh = read(model);
  fresh.modified = now.modified, fresh.stamp_bytes = now.stamp_bytes;
  if (!fresh.size_bytes) fresh.size_bytes = now.stamp_bytes;  // a file that is no model has a size, too
  const std::lock_guard lock(mutex_);
  if (headers_.size() >= kMostKnown) headers_.clear();
  headers_[model.path] = fresh;
  return fresh;
}

uint64_t ModelMemory::size_bytes(const HostedModel& model) { return header(model).size_bytes; }

json::object ModelMemory::need(const HostedModel& model, const MemoryRoom& room) {
  const Header h = header(model);
  if (!h.problem.empty()) return {{"problem", h.problem}};
  const MemoryNeeds& needs = h.estimate->needs;
  const size_t sequences = std::max<size_t>(model.options.sequences, 1);
  const size_t least = std::min(kLeastCtx, h.config.max_position_embeddings);
  size_t ctx = model.options.ctx ? model.options.ctx : least;
  const char* fit = "no";
  try {
    for (const auto& [available, word] : {std::pair(room.free, "now"), std::pair(room.all(), "after_unloading")}) {
      try {
        ctx = choose_context(needs, h.config, model.options.ctx, sequences, available, model.options.least_ctx);
        fit = word;
        break;
      } catch (const ResourceError&) {  // not with so much; the numbers are in the reply
      }
    }
  } catch (const UsageError& e) {
    return {{"problem", e.what()}};
  }
  return {{"need_bytes", needs.total(ctx, sequences)},
          {"least_bytes", needs.total(model.options.ctx ? ctx : least, sequences)},
          {"weights_bytes", needs.weights},
          {"ctx", ctx},
          {"fits", fit}};
}

}  // namespace fathom
