// How fast keys can be guessed: every address may be wrong kBurst times at once, and then once in kSecondsAGuess. What
// comes beyond that is refused unseen, right or wrong, but for keys that have worked from the same address before: so
// nobody locks out who shares an address with him (a proxy, a household), and only keys in use there could be tried
// faster. One thread at a time; called by key_access.cc.
#pragma once
#include <chrono>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/keys/key_ring.h"

namespace fathom {

class GuessLimiter {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr double kBurst = 20, kSecondsAGuess = 10;
  static constexpr size_t kMostAddresses = 4096, kMostKnown = 16;  ///< addresses; keys known of one

  /// Seconds until another guess of this address is looked at; 0: now.
  int wait_s(const std::string& address, Time now);
  bool knows(const std::string& address, const KeyRing::Digest& key) const;
  void failed(const std::string& address, Time now);
  void worked(const std::string& address, const KeyRing::Digest& key);

 private:
  struct Entry {
    double left = kBurst;
    Time at{};  // of `left`
    std::vector<KeyRing::Digest> known;
    std::list<std::string>::iterator place;
  };
  Entry& entry(const std::string& address);

  std::list<std::string> latest_;  // addresses, the latest first; the last gives way
  std::unordered_map<std::string, Entry> entries_;
};

/// Whose guesses count together: an IPv4 address, or the /64 of an IPv6 address. `peer`: "1.2.3.4:5", "[::1]:5".
/// `forwarded`: the header X-Forwarded-For, whose last address is believed if the peer is this machine: a proxy on it
/// has put it there. "": there is none. (A program on this machine may name any, and guess as fast as it can: there the
/// length of keys must do.)
std::string guessing_address(const std::string& peer, std::string_view forwarded);

/// Whether `peer` is this machine.
bool is_loopback(const std::string& peer);

}  // namespace fathom
