#include "tasks/reward_program.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTickMs = 50;           // between two looks at the program's memory
constexpr size_t kKeptErrors = 2048;  // bytes of standard error for a message

/// Text for a message: at most `size` bytes of its end, control characters as '?'.
std::string shown(std::string_view text, size_t size) {
  std::string out(text.substr(text.size() - std::min(text.size(), size)));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return out;
}

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return shown(text.substr(text.rfind('\n') + 1), 300);  // npos + 1 = 0
}

enum class ReadEnd : uint8_t { kMore, kEmpty, kClosed };
/// Appends what is there now.
ReadEnd read_some(int fd, std::string& out) {
  std::array<char, 1 << 16> buffer;
  const ssize_t n = ::read(fd, buffer.data(), buffer.size());
  if (n > 0) out.append(buffer.data(), static_cast<size_t>(n));
  if (n > 0) return ReadEnd::kMore;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? ReadEnd::kEmpty : ReadEnd::kClosed;
}

}  // namespace

/// One call of rewards().
struct RewardProgram::Exchange {
  size_t requests = 0;
  std::string input;  // all lines
  size_t written = 0;
  std::string output;  // what has no line break yet
  std::string errors;  // the end of standard error
  uint64_t error_bytes = 0;
  bool output_closed = false, errors_closed = false;
  std::vector<double> rewards;
};

RewardProgram::RewardProgram(std::vector<std::string> command, RewardProgramLimits limits)
    : command_(std::move(command)), limits_(limits) {}
RewardProgram::~RewardProgram() = default;

void RewardProgram::fail(const Exchange& exchange, const std::string& expected, const std::string& found) {
  process_.reset();
  std::string name;
  for (const std::string& word : command_) name += cat(name.empty() ? "" : " ", word);
  const std::string said = last_line(exchange.errors);
  throw Error(cat("reward program '", name.substr(0, 200), "': request ",
                  std::min(exchange.rewards.size() + 1, exchange.requests), " of ", exchange.requests, ": expected ",
                  expected, ", found ", found, said.empty() ? "" : "; its last message: ", said));
}

void RewardProgram::take_answers(Exchange& exchange) {
  const ReadEnd end = read_some(process_->output(), exchange.output);
  size_t begin = 0;
  for (size_t line_end; (line_end = exchange.output.find('\n', begin)) != std::string::npos; begin = line_end + 1) {
    const std::string line = exchange.output.substr(begin, line_end - begin);
    if (exchange.rewards.size() == exchange.requests) fail(exchange, "one line per request", "another line");
    double reward = NAN;
    try {
      const json::value value = parse_json(line, "answer");
      reward = JsonObject(value, "answer").number("reward");
    } catch (const Error&) {  // the message below shows the line itself
    }
    if (!std::isfinite(reward)) fail(exchange, "{\"reward\": number}", cat("'", shown(line, 200), "'"));
    exchange.rewards.push_back(reward);
  }
  exchange.output.erase(0, begin);
  if (exchange.output.size() > limits_.line_bytes)
    fail(exchange, cat("a line of at most ", limits_.line_bytes, " bytes"), "a longer one");
  exchange.output_closed = end == ReadEnd::kClosed;
}

void RewardProgram::take_errors(Exchange& exchange) {
  const size_t before = exchange.errors.size();
  exchange.errors_closed = read_some(process_->errors(), exchange.errors) == ReadEnd::kClosed;
  exchange.error_bytes += exchange.errors.size() - before;
  if (exchange.errors.size() > kKeptErrors) exchange.errors.erase(0, exchange.errors.size() - kKeptErrors);
  if (exchange.error_bytes > limits_.error_bytes)
    fail(exchange, cat("at most ", limits_.error_bytes, " bytes of messages"), "more");
}

/// Waits for the program, then writes and reads what is possible.
void RewardProgram::step(Exchange& exchange, int wait_ms) {
  const bool writing = exchange.written < exchange.input.size();
  // poll() passes over negative descriptors.
  std::array<pollfd, 3> waits{{{writing ? process_->input() : -1, POLLOUT, 0},
                               {exchange.output_closed ? -1 : process_->output(), POLLIN, 0},
                               {exchange.errors_closed ? -1 : process_->errors(), POLLIN, 0}}};
  ::poll(waits.data(), waits.size(), wait_ms);
  if (waits[2].revents != 0) take_errors(exchange);
  if (waits[1].revents != 0) take_answers(exchange);
  if (waits[0].revents == 0) return;
  const std::string_view rest = std::string_view(exchange.input).substr(exchange.written);
  const ssize_t n = write_to_program(process_->input(), rest.data(), rest.size());
  // Nobody reads any more: its answers may still come, and its end is seen where they would.
  exchange.written = n < 0 ? exchange.input.size() : exchange.written + static_cast<size_t>(n);
}

std::vector<double> RewardProgram::rewards(std::span<const RewardRequest> requests) {
  if (requests.empty()) return {};
  if (process_) {  // nothing was asked since the last call
    Exchange nothing;
    step(nothing, 0);
    if (!nothing.output.empty()) fail(nothing, "one line per request", "more behind the last one");
  } else {
    process_ = std::make_unique<SandboxedProcess>(command_, limits_.sandbox);
  }
  Exchange exchange{.requests = requests.size()};
  for (const RewardRequest& request : requests)
    exchange.input += to_json(json::object{
                          {"prompt", request.prompt}, {"completion", request.completion}, {"answer", request.answer}}) +
                      "\n";
  const auto allowed = std::chrono::duration<double>(limits_.seconds);
  Clock::time_point last_answer = Clock::now(), last_look = last_answer;
  while (exchange.rewards.size() < requests.size()) {
    const size_t before = exchange.rewards.size();
    step(exchange, kTickMs);
    if (exchange.rewards.size() > before) last_answer = Clock::now();
    if (exchange.rewards.size() == requests.size()) break;
    if (exchange.output_closed) {
      while (!exchange.errors_closed && Clock::now() - last_answer < allowed) step(exchange, kTickMs);
      const std::string how = process_->end(500);  // the sandbox ends a moment after the program
      fail(exchange, "an answer", how.empty() ? "its output closed" : cat("its end (", how, ")"));
    }
    if (Clock::now() - last_look > std::chrono::milliseconds(kTickMs)) {
      last_look = Clock::now();
      if (const uint64_t used = process_->memory_bytes(); used > limits_.sandbox.memory_bytes)
        fail(exchange, cat("at most ", limits_.sandbox.memory_bytes >> 20, " MiB of memory"), cat(used >> 20, " MiB"));
    }
    if (Clock::now() - last_answer > allowed) fail(exchange, cat("an answer within ", limits_.seconds, " s"), "none");
  }
  // What came with the last answer is looked at now, what comes later by the next call.
  step(exchange, 0);
  if (!exchange.output.empty()) fail(exchange, "one line per request", "more behind the last one");
  return std::move(exchange.rewards);
}

}  // namespace fathom
