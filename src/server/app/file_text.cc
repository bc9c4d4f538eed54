#include "server/app/file_text.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "server/api/error.h"
#include "server/app/chat.h"
#include "tasks/sandbox.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{60};
constexpr size_t kMostErrors = 4096;
constexpr int kTickMs = 100;

/// Appends what is there; false: nothing will come any more.
bool read_some(int fd, std::string& out) {
  std::array<char, 1 << 16> buffer;
  const ssize_t n = ::read(fd, buffer.data(), buffer.size());
  if (n > 0) out.append(buffer.data(), static_cast<size_t>(n));
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return utf8_lossy(text.substr(text.rfind('\n') + 1).substr(0, 200));
}

ApiError unreadable(const std::string& name, const std::string& why) {
  return {422, cat("'", name, "': ", why), "invalid_request_error", "name", "unreadable_file"};
}

std::atomic<int> places_taken = 0;

std::string pdf_text(const std::string& name, const std::string& bytes) {
  const PdfPlace place(name);
  std::unique_ptr<SandboxedProcess> program;
  try {
    program = std::make_unique<SandboxedProcess>(
        std::vector<std::string>{"pdftotext", "-q", "-enc", "UTF-8", "-eol", "unix", "-nopgbrk", "-", "-"},
        SandboxLimits{.memory_bytes = uint64_t{256} << 20});
  } catch (const Error& e) {
    throw ApiError(501, cat("PDF files cannot be read on this server: ", e.what()), "server_error", "name", "no_pdf");
  }
  std::string text, errors;
  size_t written = 0;
  bool reads = true, complains = true, takes = true;
  const Clock::time_point end = Clock::now() + kPatience;
  while (reads) {
    std::array<pollfd, 3> waits{{{takes && written < bytes.size() ? program->input() : -1, POLLOUT, 0},
                                 {program->output(), POLLIN, 0},
                                 {complains ? program->errors() : -1, POLLIN, 0}}};
    ::poll(waits.data(), waits.size(), kTickMs);
    if (waits[0].revents != 0) {
      const ssize_t n = write_to_program(program->input(), bytes.data() + written, bytes.size() - written);
      if (n < 0)
        takes = false;
      else if ((written += static_cast<size_t>(n)) == bytes.size())
        program->close_input();
    }
    if (waits[1].revents != 0) reads = read_some(program->output(), text);
    if (waits[2].revents != 0) complains = read_some(program->errors(), errors) && errors.size() < kMostErrors;
    if (text.size() > kMostContent)
      throw ApiError(413, cat("'", name, "': expected at most ", kMostContent, " bytes of text, found more"));
    if (Clock::now() > end) throw unreadable(name, cat("it could not be read within ", kPatience.count(), " s"));
  }
  const std::string how = program->end(2000);
  if (errors.find("execvp") != std::string::npos)  // bwrap's own words
    throw ApiError(501, "PDF files cannot be read on this server: pdftotext is not installed (package poppler-utils)",
                   "server_error", "name", "no_pdf");
  if (how != "exit code 0") throw unreadable(name, cat("pdftotext cannot read it (", how, ") ", last_line(errors)));
  if (text.find_first_not_of(" \n\t\f\r") == std::string::npos)
    throw unreadable(name, "it has no text, perhaps pictures of pages only");
  return utf8_lossy(text);
}

}  // namespace

PdfPlace::PdfPlace(const std::string& name) {
  if (places_taken.fetch_add(1) < kPlaces) return;
  --places_taken;
  ApiError error(503, cat("'", name, "': ", kPlaces, " PDF files are being read: try again in a few seconds"),
                 "server_error", "name", "overloaded");
  error.retry_after_s = 3;
  throw error;
}

PdfPlace::~PdfPlace() { --places_taken; }

std::string file_text(const std::string& name, const std::string& bytes) {
  if (bytes.starts_with("%PDF-")) return pdf_text(name, bytes);
  if (bytes.size() > kMostContent)
    throw ApiError(413, cat("'", name, "': expected at most ", kMostContent, " bytes, found ", bytes.size()));
  std::string_view text = bytes;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (text.find('\0') != std::string_view::npos || valid_utf8_prefix(text) != text.size())
    throw ApiError(415, cat("'", name, "': expected a text in UTF-8 or a PDF, found another kind of file"));
  return std::string(text);
}

}  // namespace fathom
