#include "server/api/error.h"

#include "engine/model_host.h"

namespace fathom {

ApiError api_error(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const ApiError& e) {
    return e;
  } catch (const OverloadedError& e) {
    ApiError busy(429, e.what(), "rate_limit_error", std::nullopt, "rate_limit_exceeded");
    busy.retry_after_s = 1;
    return busy;
  } catch (const ResourceError& e) {
    ApiError full(503, e.what(), "server_error", std::nullopt, "overloaded");
    full.retry_after_s = 5;
    return full;
  } catch (const Error& e) {
    return {400, e.what()};
  } catch (...) {
    return {500, "the server failed on this request", "server_error", std::nullopt, "internal_error"};
  }
}

}  // namespace fathom
