#include "server/keys/guess_limiter.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cmath>

#include "base/trimmed.h"

namespace fathom {
namespace {
namespace ip = boost::asio::ip;

/// Of "1.2.3.4", "1.2.3.4:5", "::1" and "[::1]:5"; an IPv4 address in IPv6's form is one.
std::optional<ip::address> address_in(std::string text) {
  if (text.starts_with('['))
    text = text.substr(1, text.find(']') - 1);
  else if (std::ranges::count(text, ':') == 1)
    text.resize(text.find(':'));
  boost::system::error_code error;
  const ip::address address = ip::make_address(text, error);
  if (error) return std::nullopt;
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  return address;
}

}  // namespace

bool is_loopback(const std::string& peer) {
  const auto address = address_in(peer);
  return address && address->is_loopback();
}

std::string guessing_address(const std::string& peer, std::string_view forwarded) {
  auto address = address_in(peer);
  if (address && address->is_loopback() && !forwarded.empty()) {
    forwarded.remove_prefix(forwarded.rfind(',') + 1);
    if (const auto client = address_in(std::string(trimmed(forwarded).substr(0, 64)))) address = client;
  }
  if (!address) return peer;
  if (address->is_v4()) return address->to_string();
  ip::address_v6::bytes_type bytes = address->to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return ip::address_v6(bytes).to_string() + "/64";
}

GuessLimiter::Entry& GuessLimiter::entry(const std::string& address) {
  const auto found = entries_.find(address);
  if (found != entries_.end()) {
    latest_.splice(latest_.begin(), latest_, found->second.place);
    return found->second;
  }
  if (entries_.size() >= kMostAddresses) {
    entries_.erase(latest_.back());
    latest_.pop_back();
  }
  latest_.push_front(address);
  Entry& made = entries_[address];
  made.place = latest_.begin();
  return made;
}

int GuessLimiter::wait_s(const std::string& address, Time now) {
  const auto found = entries_.find(address);
  if (found == entries_.end()) return 0;
  Entry& e = found->second;
  const double past = std::chrono::duration<double>(now - e.at).count();
  e.left = std::min(kBurst, e.left + std::max(0.0, past) / kSecondsAGuess);
  e.at = now;
  return e.left >= 1 ? 0 : static_cast<int>(std::ceil((1 - e.left) * kSecondsAGuess));
}

bool GuessLimiter::knows(const std::string& address, const KeyRing::Digest& key) const {
  const auto found = entries_.find(address);
  return found != entries_.end() && std::ranges::find(found->second.known, key) != found->second.known.end();
}

void GuessLimiter::failed(const std::string& address, Time now) {
  (void)wait_s(address, now);
  Entry& e = entry(address);
  e.at = now;
  e.left = std::max(0.0, e.left - 1);
}

void GuessLimiter::worked(const std::string& address, const KeyRing::Digest& key) {
  std::vector<KeyRing::Digest>& known = entry(address).known;
  if (std::ranges::find(known, key) != known.end()) return;
  if (known.size() == kMostKnown) known.erase(known.begin());
  known.push_back(key);
}

}  // namespace fathom
