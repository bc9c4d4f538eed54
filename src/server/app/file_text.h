// The text of a file that a person attaches to a message: texts and sources as they are, PDF through pdftotext, which
// reads it in a sandbox of its own. Any thread.
#pragma once
#include <string>

namespace fathom {

/// UTF-8. Throws ApiError 415 for a file that is neither text nor PDF, 413 for one that is too long, 422 for a PDF that
/// cannot be read or has no text, 501 where the server has no pdftotext or no sandbox.
std::string file_text(const std::string& name, const std::string& bytes);

}  // namespace fathom
