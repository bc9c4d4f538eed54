// The app in the browser: the files of web/dist, which are part of the program. They are built by `npm run build` in
// web/ and committed, so that building the program needs no Node; cmake/web_files.cmake puts their bytes in. A page
// asks for "/" first, and that names the files of /assets/ by the hash of what they hold. Any thread may call.
#pragma once
#include "server/http/http.h"

namespace fathom {

/// Whether GET of this path is answered by a file.
bool is_web_file(std::string_view path);

/// Answers a GET or HEAD of a file: 200, or 304 if the client has it (strong ETags), as gzip where the client takes
/// that. Files under /assets/ never change under their names and are kept for a year; all others are asked for anew.
/// No page may run scripts but ours (Content-Security-Policy). Returns false, and does nothing, for any other request.
bool send_web_file(const HttpServerRequest& request, Responder& responder);

}  // namespace fathom
