// The text of a file that a person attaches to a message: texts and sources as they are, PDF through pdftotext, which
// reads it in a sandbox of its own. Any thread.
#pragma once
#include <string>

namespace fathom {

/// A place for the reading of a PDF, which may last a minute: few at a time, so that all else is answered meanwhile.
class PdfPlace {
 public:
  static constexpr int kPlaces = 2;
  /// Throws ApiError 503 where all are taken.
  explicit PdfPlace(const std::string& name);
  ~PdfPlace();
  PdfPlace(const PdfPlace&) = delete;
  PdfPlace& operator=(const PdfPlace&) = delete;
};

/// UTF-8. Throws ApiError 415 for a file that is neither text nor PDF, 413 for one that is too long, 422 for a PDF that
/// cannot be read or has no text, 501 where the server has no pdftotext or no sandbox, and as PdfPlace does.
std::string file_text(const std::string& name, const std::string& bytes);

}  // namespace fathom
