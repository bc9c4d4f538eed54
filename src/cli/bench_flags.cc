#include "cli/bench_flags.h"

#include <CLI/CLI.hpp>

namespace fathom {

std::shared_ptr<BenchServeCommand> add_bench_serve_flags(CLI::App& command, CLI::Option& model) {
  const auto options = std::make_shared<BenchServeCommand>();
  CLI::Option* serve = command.add_option("--serve", options->urls,
                                          "load an OpenAI server instead, as http://127.0.0.1:8000/v1; several take "
                                          "turns, and the first is compared with the others");
  serve->allow_extra_args(false)->type_name("URL")->excludes(&model);
  command.add_option("--serve-model", options->models, "the model to ask (default: the first listed)")
      ->allow_extra_args(false)
      ->type_name("NAME")
      ->needs(serve);
  command.add_option("--chats", options->in_flight, "so many chats at a time, as 8,32 (default 8)")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->needs(serve);
  command
      .add_option("--rate", options->rates,
                  "so many new chats a second, whether or not earlier ones were answered, as 0.5,2")
      ->delimiter(',')
      ->check(CLI::Range(1e-3, 1e6))
      ->needs(serve);
  const auto add_count = [&](const char* flag, size_t& value, const char* help) {
    command.add_option(flag, value, help)->check(CLI::Range(0, 1 << 24))->needs(serve);
  };
  command.add_option("--requests", options->requests, "chats of each measurement (default 64)")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(serve);
  add_count("--shared", options->shared_tokens, "tokens of the system prompt that all share, about (default 1000)");
  add_count("--ask", options->ask_tokens, "tokens of each question, about (default 30)");
  add_count("--answer", options->answer_tokens, "tokens of each answer (default 64)");
  add_count("--disturb", options->disturbing_tokens, "and one prompt of about so many tokens in between (default 0)");
  command
      .add_option("--first-token-limit", options->limits.first_token_s,
                  "seconds to the first token of a good answer (default 5)")
      ->check(CLI::PositiveNumber)
      ->needs(serve);
  command
      .add_option("--token-limit", options->limits.per_token_s, "seconds for each of its other tokens (default 0.2)")
      ->check(CLI::PositiveNumber)
      ->needs(serve);
  return options;
}

std::shared_ptr<BenchTrainCommand> add_bench_train_flags(CLI::App& command, CLI::Option& model) {
  const auto options = std::make_shared<BenchTrainCommand>();
  CLI::Option* train =
      command.add_option("--train", options->config, "time training steps of a new model of this config.json instead")
          ->type_name("CONFIG")
          ->excludes(&model);
  command.add_option("--sequences", options->sequences, "of a step (default 12)")
      ->check(CLI::Range(1, 1 << 16))
      ->needs(train);
  command.add_option("--context", options->context, "tokens of each sequence (default 64)")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(train);
  return options;
}

}  // namespace fathom
