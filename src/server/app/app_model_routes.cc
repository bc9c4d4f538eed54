// The app's routes for models: what each needs of memory, what is recommended, pulls, removal.
#include "base/trimmed.h"
#include "engine/chat_prompt.h"
#include "engine/weight_format.h"
#include "hub/names.h"
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/app/app_api.h"
#include "server/app/app_request.h"
#include "server/app/recommended.h"

namespace fathom {
namespace {

std::string format_of(const EngineInfo& info) {
  try {
    return weight_format(info.path);
  } catch (const Error&) {
    return info.description;  // the file has gone since
  }
}

constexpr size_t kMostName = 2000;

/// The name that a pull asks for, from {repository, file?}; the repository may be OWNER/NAME:FILE as well.
HubName read_name(const json::value& body) {
  Fields f(body);
  const std::string repository(trimmed(f.string("repository").value_or("")));
  const std::optional<std::string> file = f.string("file");
  refuse_left_over(f);
  if (repository.size() + file.value_or("").size() > kMostName)
    throw wrong_field("repository", cat("repository: expected at most ", kMostName, " bytes, found ",
                                        repository.size() + file.value_or("").size()));
  HubName name = parse_hub_name(repository);
  if (file && !file->empty()) {
    if (!name.file.empty())
      throw wrong_field("file", cat("file: expected none beside '", repository.substr(0, 200), "', which names one"));
    name = parse_hub_name(cat(repository, ":", *file));
  }
  return name;
}

}  // namespace

void AppApi::manage_models(ModelLibraryOptions options) {
  library_ = std::make_unique<ModelLibrary>(host_, std::move(options), [this] { feed_.tell("models", ""); });
}

json::object AppApi::model_json(const HostedModel& m, const MemoryRoom& room) {
  json::object entry{{"name", m.name}, {"loaded", false}, {"size_bytes", memory_.size_bytes(m)}};
  entry["removable"] = library_ && library_->is_installed(m);
  if (!m.base.empty()) entry["base"] = m.base;
  const std::shared_ptr<LoadedModel> model = host_.loaded(m.name);
  if (!model) {
    if (m.base.empty()) entry["memory"] = memory_.need(m, room);
    return entry;
  }
  const EngineInfo& info = model->engine().info();
  entry["loaded"] = true;
  entry["ctx"] = info.ctx;
  entry["can_think"] = can_think(model->engine());
  entry["format"] = format_of(info);
  entry["profile"] = name(info.profile);
  return entry;
}

ModelLibrary& AppApi::library() {
  if (library_) return *library_;
  throw ApiError(403,
                 "models: the page of this server may not pull or remove any (fathom serve --pulls on lets it, whoever "
                 "can reach the server)",
                 "permission_error", {}, "forbidden");
}

AppApi::Answer AppApi::recommended(Call&) {
  ModelLibrary& models = library();
  const MemoryRoom room = memory_room(host_);
  const uint64_t disk = models.disk_free_bytes();
  json::array list = recommended_json(room, disk);
  for (json::value& value : list) {
    json::object& m = value.as_object();
    const std::string there =
        models.find(std::string(m.at("repository").as_string()), std::string(m.at("file").as_string()));
    m["model"] = there.empty() ? json::value(nullptr) : json::value(there);
  }
  return json::object{{"models", std::move(list)},
                      {"memory", {{"free_bytes", room.free}, {"reclaimable_bytes", room.reclaimable}}},
                      {"disk_free_bytes", disk}};
}

AppApi::Answer AppApi::list_pulls(Call&) { return json::object{{"pulls", library().pulls().list()}}; }

AppApi::Answer AppApi::begin_pull(Call& call) {
  ModelLibrary& models = library();
  ModelPulls::Begun begun = models.pulls().begin(read_name(call.body()));
  call.status = begun.is_new ? 201 : 200;
  return std::move(begun.pull);
}

AppApi::Answer AppApi::end_pull(Call& call) {
  library().pulls().remove(call.ids[0]);
  return json::object{{"ended", true}};
}

AppApi::Answer AppApi::remove_model(Call& call) {
  ModelLibrary& models = library();
  const std::string name = call.query("name").value_or("");
  if (name.empty()) throw wrong_field("name", "name: expected the model that is to go, found none");
  return json::object{{"removed", name}, {"freed_bytes", models.remove(name)}};
}

}  // namespace fathom
