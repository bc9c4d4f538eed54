// The answers of /v1/responses: an object, or its events in the official order. Source: the official client's types.
#pragma once
#include <memory>

#include "server/api/reply.h"
#include "server/api/responses_request.h"
#include "server/store/response_store.h"

namespace fathom {

/// `store` keeps the answer where the request wants it to, before the client has its end.
std::unique_ptr<Reply> make_responses_reply(ReplyContext context, ResponsesRequest request,
                                            std::shared_ptr<ResponseStore> store);

/// "resp_" and the id of the request.
std::string response_id(const std::string& id);
/// The id of the request in a response's or an item's id; empty: it is none of ours.
std::string request_id_of(std::string_view id);

}  // namespace fathom
