// The app's routes for folders, templates, preferences and search.
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/app/app_api.h"
#include "server/app/app_request.h"

namespace fathom {

AppApi::Answer AppApi::list_folders(Call&) { return json::object{{"folders", shelf_.folders()}}; }

AppApi::Answer AppApi::add_folder(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  const std::string name = f.string("name").value_or("");
  refuse_left_over(f);
  json::object folder = shelf_.add_folder(name);
  feed_.tell("folders", "");
  call.status = 201;
  return folder;
}

AppApi::Answer AppApi::change_folder(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  const std::optional<std::string> name = f.string("name");
  const std::optional<int64_t> position = f.integer("position", -1'000'000'000, 1'000'000'000);
  refuse_left_over(f);
  json::object folder = shelf_.change_folder(call.ids[0], name, position);
  feed_.tell("folders", "");
  return folder;
}

AppApi::Answer AppApi::delete_folder(Call& call) {
  shelf_.remove_folder(call.ids[0]);
  feed_.tell("folders", "");
  return json::object{{"deleted", true}};
}

AppApi::Answer AppApi::list_templates(Call&) { return json::object{{"templates", shelf_.templates()}}; }

AppApi::Answer AppApi::add_template(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  const std::string name = f.string("name").value_or(""), text = f.string("text").value_or("");
  refuse_left_over(f);
  json::object added = shelf_.add_template(name, text);
  feed_.tell("templates", "");
  call.status = 201;
  return added;
}

AppApi::Answer AppApi::change_template(Call& call) {
  const json::value body = call.body();
  Fields f(body);
  const std::optional<std::string> name = f.string("name"), text = f.string("text");
  refuse_left_over(f);
  json::object changed = shelf_.change_template(call.ids[0], name, text);
  feed_.tell("templates", "");
  return changed;
}

AppApi::Answer AppApi::delete_template(Call& call) {
  shelf_.remove_template(call.ids[0]);
  feed_.tell("templates", "");
  return json::object{{"deleted", true}};
}

AppApi::Answer AppApi::preferences(Call&) { return shelf_.preferences(); }

AppApi::Answer AppApi::change_preferences(Call& call) {
  const json::value body = call.body();
  if (!body.is_object()) throw wrong_field("", "the body: expected a JSON object");
  json::object now = shelf_.change_preferences(body.get_object());
  feed_.tell("preferences", "");
  return now;
}

AppApi::Answer AppApi::search(Call& call) {
  const auto limit = static_cast<size_t>(call.number("limit", 50, 1, 500));
  json::array hits;
  for (const SearchHit& hit : search_.find(call.query("q").value_or(""), limit)) hits.push_back(hit_json(hit));
  return json::object{{"hits", std::move(hits)}};
}

}  // namespace fathom
