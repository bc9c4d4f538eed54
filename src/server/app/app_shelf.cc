#include "server/app/app_shelf.h"

#include <soci/soci.h>

#include "server/api/error.h"
#include "server/api/generate.h"

namespace fathom {
namespace {

using soci::into;
using soci::use;

void check_text(const char* field, const std::string& text, size_t most) {
  if (text.empty() || text.size() > most)
    throw wrong_field(field, cat(field, ": expected 1 to ", most, " bytes of text, found ", text.size()));
}

void check_room(soci::session& sql, const char* table, size_t most) {
  long long count = 0;
  sql << "SELECT count(*) FROM " << table, into(count);
  if (static_cast<size_t>(count) >= most) throw ApiError(400, cat("expected at most ", most, " of them"));
}

ApiError unknown(const char* what, const std::string& id) {
  return not_found(cat("no such ", what, ": '", id.substr(0, 100), "'"), cat(what, "_not_found"));
}

json::object folder_json(const std::string& id, const std::string& name, long long position) {
  return {{"id", id}, {"name", name}, {"position", position}};
}
json::object template_json(const std::string& id, const std::string& name, const std::string& text) {
  return {{"id", id}, {"name", name}, {"text", text}};
}

json::object read_preferences(soci::session& sql) {
  std::string text;
  sql << "SELECT value FROM app_preferences", into(text);
  return sql.got_data() ? parse_json(text, "the store").as_object() : json::object();
}

}  // namespace

json::array AppShelf::folders() const {
  return database_->read([](soci::session& sql) {
    std::string id, name;
    long long position = 0;
    soci::statement list = (sql.prepare << "SELECT id, name, position FROM app_folders ORDER BY position, name",
                            into(id), into(name), into(position));
    list.execute();
    json::array out;
    while (list.fetch()) out.push_back(folder_json(id, name, position));
    return out;
  });
}

json::object AppShelf::add_folder(const std::string& name) {
  check_text("name", name, kMostName);
  return database_->with([&](soci::session& sql) {
    check_room(sql, "app_folders", kMostFolders);
    const std::string id = random_id();
    long long position = 0;
    sql << "SELECT coalesce(max(position), 0) + 1 FROM app_folders", into(position);
    sql << "INSERT INTO app_folders VALUES (:id, :name, :position)", use(id), use(name), use(position);
    return folder_json(id, name, position);
  });
}

json::object AppShelf::change_folder(const std::string& id, const std::optional<std::string>& name,
                                     std::optional<int64_t> position) {
  if (name) check_text("name", *name, kMostName);
  return database_->with([&](soci::session& sql) {
    std::string now;
    long long at = 0;
    sql << "SELECT name, position FROM app_folders WHERE id = :id", into(now), into(at), use(id);
    if (!sql.got_data()) throw unknown("folder", id);
    now = name.value_or(now), at = position.value_or(at);
    sql << "UPDATE app_folders SET name = :n, position = :p WHERE id = :id", use(now), use(at), use(id);
    return folder_json(id, now, at);
  });
}

void AppShelf::remove_folder(const std::string& id) {
  database_->with([&](soci::session& sql) {
    soci::statement remove = (sql.prepare << "DELETE FROM app_folders WHERE id = :id", use(id));
    remove.execute(true);
    if (remove.get_affected_rows() == 0) throw unknown("folder", id);
    sql << "UPDATE app_chats SET folder = '' WHERE folder = :id", use(id);
  });
}

json::array AppShelf::templates() const {
  return database_->read([](soci::session& sql) {
    std::string id, name, text;
    soci::statement list =
        (sql.prepare << "SELECT id, name, text FROM app_templates ORDER BY name, id", into(id), into(name), into(text));
    list.execute();
    json::array out;
    while (list.fetch()) out.push_back(template_json(id, name, text));
    return out;
  });
}

json::object AppShelf::add_template(const std::string& name, const std::string& text) {
  check_text("name", name, kMostName);
  check_text("text", text, kMostTemplate);
  return database_->with([&](soci::session& sql) {
    check_room(sql, "app_templates", kMostTemplates);
    const std::string id = random_id();
    sql << "INSERT INTO app_templates VALUES (:id, :name, :text)", use(id), use(name), use(text);
    return template_json(id, name, text);
  });
}

json::object AppShelf::change_template(const std::string& id, const std::optional<std::string>& name,
                                       const std::optional<std::string>& text) {
  if (name) check_text("name", *name, kMostName);
  if (text) check_text("text", *text, kMostTemplate);
  return database_->with([&](soci::session& sql) {
    std::string name_now, text_now;
    sql << "SELECT name, text FROM app_templates WHERE id = :id", into(name_now), into(text_now), use(id);
    if (!sql.got_data()) throw unknown("template", id);
    name_now = name.value_or(name_now), text_now = text.value_or(text_now);
    sql << "UPDATE app_templates SET name = :n, text = :t WHERE id = :id", use(name_now), use(text_now), use(id);
    return template_json(id, name_now, text_now);
  });
}

void AppShelf::remove_template(const std::string& id) {
  database_->with([&](soci::session& sql) {
    soci::statement remove = (sql.prepare << "DELETE FROM app_templates WHERE id = :id", use(id));
    remove.execute(true);
    if (remove.get_affected_rows() == 0) throw unknown("template", id);
  });
}

json::object AppShelf::preferences() const {
  return database_->read([](soci::session& sql) { return read_preferences(sql); });
}

json::object AppShelf::change_preferences(const json::object& change) {
  return database_->with([&](soci::session& sql) {
    json::object now = read_preferences(sql);
    for (const auto& [key, value] : change) {
      if (value.is_null())
        now.erase(key);
      else
        now[key] = value;
    }
    const std::string text = to_json(now);
    if (text.size() > kMostPreferences)
      throw ApiError(400,
                     cat("preferences: expected at most ", kMostPreferences, " bytes of JSON, found ", text.size()));
    sql << "INSERT INTO app_preferences VALUES (1, :v) ON CONFLICT (one) DO UPDATE SET value = excluded.value",
        use(text);
    return now;
  });
}

}  // namespace fathom
