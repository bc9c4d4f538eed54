#include "engine/session.h"

#include <algorithm>

namespace fathom {

size_t Session::set_tokens(std::span<const TokenId> ids) {
  size_t same = 0;
  const size_t limit = std::min(kv_.length(), ids.empty() ? 0 : ids.size() - 1);
  while (same < limit && tokens_[same] == ids[same]) ++same;
  kv_.truncate(same);
  mtp_cached_ = std::min(mtp_cached_, same);
  tokens_.assign(ids.begin(), ids.end());
  return same;
}

}  // namespace fathom
