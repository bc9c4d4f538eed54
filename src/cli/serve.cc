// fathom serve: the API for programs, over HTTP.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/error.h"
#include "cli/access_log.h"
#include "cli/browser.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/folders.h"
#include "cli/hub_options.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "engine/identity.h"
#include "engine/model_host.h"
#include "server/api/api.h"
#include "server/app/model_library.h"
#include "server/http/http.h"
#include "server/keys/key_access.h"
#include "server/store/store_lock.h"

namespace fathom {
namespace {

struct ServeCommand {
  std::vector<std::string> models, aliases, adapters;
  std::string template_file;
  bool lazy = false, open = false;
};

/// "deepseek-ai/X" stays, a path becomes its last part without ".gguf".
std::string served_name(const std::string& model) {
  const std::filesystem::path path(model);
  if (!std::filesystem::exists(path)) return model;
  const std::filesystem::path last = path.has_filename() ? path.filename() : path.parent_path().filename();
  return last.extension() == ".gguf" ? last.stem().string() : last.string();
}

/// NAME=MODEL, NAME=MODEL:think or NAME=MODEL:plain.
ModelAlias read_alias(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw UsageError(cat("--alias: expected NAME=MODEL, NAME=MODEL:think or NAME=MODEL:plain, found '", text, "'"));
  ModelAlias alias{text.substr(0, equals), text.substr(equals + 1), {}};
  for (const auto& [suffix, thinking] : {std::pair(":think", true), std::pair(":plain", false)}) {
    if (!alias.model.ends_with(suffix)) continue;
    alias.model.resize(alias.model.size() - std::string_view(suffix).size());
    alias.thinking = thinking;
  }
  return alias;
}

/// DeepSeek's own names stand for the first model, unless they are taken.
std::vector<ModelAlias> aliases_of(const ServeCommand& command, const std::vector<HostedModel>& models) {
  std::vector<ModelAlias> out;
  for (const std::string& text : command.aliases) out.push_back(read_alias(text));
  const auto taken = [&](const std::string& name) {
    return std::ranges::any_of(models, [&](const HostedModel& m) { return m.name == name; }) ||
           std::ranges::any_of(out, [&](const ModelAlias& a) { return a.name == name; });
  };
  for (const auto& [name, thinking] : {std::pair("deepseek-chat", false), std::pair("deepseek-reasoner", true)})
    if (!taken(name)) out.push_back({name, models.front().name, thinking});
  return out;
}

/// NAME=FOLDER or NAME=FOLDER:SCALE, over the model `base`.
HostedModel read_adapter(const std::string& text, const std::string& base) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    throw UsageError(cat("--lora: expected NAME=FOLDER or NAME=FOLDER:SCALE, found '", text, "'"));
  HostedModel out{text.substr(0, equals), text.substr(equals + 1), {}, "", base};
  const std::string path = out.path.string();
  const size_t colon = path.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(out.path)) return out;
  const char *from = path.data() + colon + 1, *to = path.data() + path.size();
  const auto [end, error] = std::from_chars(from, to, out.scale);
  if (error != std::errc() || end != to || !std::isfinite(out.scale))
    throw UsageError(cat("--lora: expected a number behind the last ':', found '", text, "'"));
  out.path = path.substr(0, colon);
  return out;
}

/// As this server loads it.
HostedModel hosted_model(const std::string& name, const std::filesystem::path& path, const Settings& settings,
                         const std::string& chat_template) {
  HostedModel hosted{name, path, engine_options(settings), chat_template};
  hosted.options.prefill_chunk = 256;  // who comes in the middle of a step waits for its end
  hosted.options.identity_memory = state_folder() / "weights-ids.json";
  return hosted;
}

std::vector<HostedModel> hosted_models(const ServeCommand& command, const Settings& settings,
                                       const std::string& chat_template) {
  std::vector<HostedModel> out;
  for (const std::string& model : command.models) {
    out.push_back(hosted_model(served_name(model), find_model(model), settings, chat_template));
    out.back().options.fill_memory = command.models.size() == 1;
  }
  if (!command.adapters.empty() && settings.text("adapter"))
    throw UsageError("--lora: expected no --adapter beside it, which is for every answer");
  for (const std::string& text : command.adapters) out.push_back(read_adapter(text, out.front().name));
  return out;
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');)
    if (!word.empty()) out.push_back(word);
  return out;
}

/// The key of signatures stays with the person's state, so that a conversation outlives the server.
ThinkingSignature kept_signature() {
  try {
    return ThinkingSignature(state_folder() / "thinking.key");
  } catch (const Error& e) {
    print_err(sanitized(cat("note: ", e.what(),
                            "; thinking that Anthropic's clients send back is known until the end of this run")) +
              "\n");
    return {};
  }
}

/// Throws Error that says how to go on without it. `lock`: held as long as the store is used.
std::shared_ptr<Database> open_store(const Settings& settings, std::optional<StoreLock>& lock) {
  const std::string place = settings.text("store").value_or((state_folder() / "store.sqlite").string());
  if (place == "none") return std::make_shared<Database>(":memory:");
  try {
    auto store = std::make_shared<Database>(place);  // makes its folder
    lock.emplace(place);
    return store;
  } catch (const Error& e) {
    throw Error(cat(e.what(), " (--store names another file, --store none keeps nothing)"));
  }
}

/// The keys of the file and of the environment; nullptr: everybody may ask. Throws Error.
std::shared_ptr<KeyAccess> key_access(const Settings& settings, const std::shared_ptr<Database>& store,
                                      const std::vector<std::string>& host_names) {
  constexpr const char* kVariable = "FATHOM_API_KEY";
  const char* given = std::getenv(kVariable);
  const std::string single = given ? given : "", file = settings.text("keys").value_or("");
  if (single.empty() && file.empty()) return nullptr;
  ::unsetenv(kVariable);  // programs that we start have no use for it
  KeyRing keys(file, single, kVariable);
  if (!keys.note().empty()) print_err(sanitized(cat("note: ", keys.note())) + "\n");
  return std::make_shared<KeyAccess>(std::move(keys), store, host_names);
}

/// Who can reach the server, and what they need.
const char* reach_of(const HttpServer& server, bool keys) {
  if (server.loopback()) return keys ? " (this machine only, with a key)" : " (this machine only)";
  return keys ? " (reachable from other machines, with a key)" : " (reachable from other machines, without a password)";
}

void describe(const LoadedModel& model) {
  if (!model.adapter().empty()) {
    print_err(sanitized(cat(model.name(), ": adapter ", model.adapter())) + "\n");
    return;
  }
  const EngineInfo& info = model.engine().info();
  const size_t pages = model.engine().pool_bytes() / std::max<uint64_t>(model.engine().kv_layout().page_bytes, 1);
  for (const std::string& note : info.notes) print_err(sanitized(cat("note: ", note)) + "\n");
  print_err(
      sanitized(cat(model.name(), ": profile ", fathom::name(info.profile), ", cache ", fathom::name(info.cache_type),
                    ", kernels ", info.kernels, ", ", info.threads, info.threads == 1 ? " thread" : " threads",
                    ", ctx ", info.ctx, ", room for ", pages * 64, " tokens in all")) +
      "\n");
}

/// What the page may do with the models folder.
ModelLibraryOptions library_options(const Settings& settings, const std::string& chat_template) {
  ModelLibraryOptions out;
  out.models_folder = models_folder();
  out.identity_memory = state_folder() / "weights-ids.json";
  out.repack_folder = repack_folder();
  out.hosted = [settings, chat_template](const std::string& name, const std::filesystem::path& path) {
    return hosted_model(name, path, settings, chat_template);
  };
  out.pull = [settings] { return hub_options(settings); };
  return out;
}

/// Pulling is for the machine's owner: where others may ask, only if the owner says so.
bool lets_pull(const Settings& settings, const HttpServer& server, const HttpServerOptions& http) {
  if (const auto wish = settings.text("pulls")) return *wish == "on";
  return server.loopback() && http.allowed_hosts.empty();
}

int serve(const ServeCommand& command, const Settings& settings) {
  const std::string chat_template = command.template_file.empty() ? "" : read_text_file(command.template_file, 1 << 22);
  std::vector<HostedModel> models = hosted_models(command, settings, chat_template);
  const std::string first = models.front().name;
  // Before the host, whose thread writes to it up to the end.
  std::unique_ptr<AccessLog> access_log;
  if (const std::string to = settings.text("access-log").value_or(command.open ? "off" : "stderr"); to != "off")
    access_log = std::make_unique<AccessLog>(to == "stderr" ? "" : to);
  // Touched while a model is loaded alone, which one thread at a time does: this one, or one that goes on with a batch.
  ProgressBar bar("loading", terminal_of(2));
  std::atomic<bool> starting = true;
  models.front().options.progress = [&](uint64_t done, uint64_t total) {
    if (starting) bar.show(done, total);
  };
  std::vector<ModelAlias> aliases = aliases_of(command, models);
  ApiOptions options;
  options.max_requests = settings.count("max-requests").value_or(options.max_requests);
  ModelHost host(std::move(models),
                 {.max_requests = options.max_requests,
                  .on_loaded =
                      [&bar](const LoadedModel& model) {
                        bar.clear();
                        describe(model);
                      },
                  .on_unloaded = [](const std::string& name) { print_err(sanitized(cat(name, ": unloaded\n"))); }});
  options.aliases = std::move(aliases);
  options.deepseek_strict = settings.text("deepseek-strict") == "on";
  if (const auto n = settings.count("max-tokens"))
    options.defaults.max_tokens = options.defaults.max_thinking_tokens = *n;
  if (const auto seed = settings.count("seed")) options.defaults.seed = *seed;
  std::optional<StoreLock> store_lock;
  options.store = open_store(settings, store_lock);  // before others make its folder, which is to be private
  options.signature = kept_signature();
  if (access_log) options.log = [&log = *access_log](const std::string& line) { log.write(line); };
  HttpServerOptions http;
  http.host = settings.text("host").value_or("127.0.0.1");
  http.port = static_cast<uint16_t>(settings.count("port").value_or(8000));
  http.cors = words(settings.text("cors").value_or(""));
  http.allowed_hosts = words(settings.text("allowed-hosts").value_or(""));
  options.host_names = http.allowed_hosts;
  options.host_names.push_back(http.host);
  options.keys = key_access(settings, options.store, options.host_names);
  Api api(host, options);
  HttpServer server(http, [&api](HttpServerRequest request, std::shared_ptr<Responder> responder) {
    api.handle(std::move(request), std::move(responder));
  });
  for (const auto& m : host.models())
    if (!command.lazy && (m->name == first || m->base == first)) host.acquire(m->name);
  const size_t named = host.models().size();
  if (lets_pull(settings, server, http)) api.manage_models(library_options(settings, chat_template));
  if (const size_t more = host.models().size() - named)
    print_err(cat("serving also ", more, more == 1 ? " installed model" : " installed models",
                  " when asked for (--pulls off: none)\n"));
  starting = false;
  api.count_http(server);
  server.start();
  print_err(cat("listening on http://", server.address(), reach_of(server, options.keys != nullptr), "\n"));
  if (command.open) {
    const std::string page = cat("http://", server.address());
    print_err(cat("the assistant is at ", page, open_in_browser(page) ? ", and opens in your browser" : "",
                  "; Ctrl-C ends it\n"));
  }
  while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  interrupted() = false;
  print_err("finishing what runs (Ctrl-C again ends at once)\n");
  api.drain();
  std::jthread impatience([&server](const std::stop_token& stop) {
    while (!stop.stop_requested() && !interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (interrupted()) server.stop();
  });
  server.drain();
  return 0;
}

}  // namespace

void add_serve(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("serve", "Answers programs over HTTP: the OpenAI and DeepSeek APIs.");
  const auto options = std::make_shared<ServeCommand>();
  command
      ->add_option("MODEL", options->models,
                   "GGUF files, Hugging Face folders, or OWNER/NAME; the first is the default")
      ->required();
  command->add_option("--alias", options->aliases, "another name: NAME=MODEL, NAME=MODEL:think or :plain")
      ->allow_extra_args(false);
  command
      ->add_option("--lora", options->adapters,
                   "a LoRA adapter over the first model, as a model of its own: NAME=FOLDER or NAME=FOLDER:SCALE")
      ->allow_extra_args(false);
  command->add_option("--template", options->template_file, "a Jinja file instead of the models' chat templates");
  command->add_flag("--open", options->open,
                    "show the assistant in the desktop's browser, and no line for each request");
  command->add_flag("--lazy", options->lazy, "load a model when it is first asked for");
  add_setting_flags(*command, invocation,
                    {"host", "port", "keys", "cors", "allowed-hosts", "max-requests", "max-tokens", "seed",
                     "deepseek-strict", "access-log", "store", "pulls", "endpoint"});
  add_engine_flags(*command, invocation);
  command->footer(
      "Example:  fathom serve MODEL --port 8000\n          curl localhost:8000/v1/chat/completions -H "
      "'Content-Type: application/json' -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}'");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) {
      catch_interrupts(/*impatient=*/false);
      catch_termination();
      ::signal(SIGPIPE, SIG_IGN);  // a log whose reader has gone is an error of write(), not the end of the server
      return serve(*options, settings);
    };
  });
}

}  // namespace fathom
