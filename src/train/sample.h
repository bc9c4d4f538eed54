// One training sequence: what the data side (chat_data.h, sampler.h) hands to the losses. Plain data.
#pragma once
#include <cstdint>
#include <vector>

#include "text/tokenizer_spec.h"

namespace fathom {

struct Sample {
  std::vector<TokenId> ids;
  std::vector<uint8_t>
      counts;  ///< as long as ids; 1: token i counts in the loss as a target (predicted from before it)
};

}  // namespace fathom
