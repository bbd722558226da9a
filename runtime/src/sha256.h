// SHA-256 (FIPS 180-4) of data that comes in pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace deltaport {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  void update(const void* data, size_t size);

  // Of everything so far. Ends it: nothing may be called after.
  Digest finish();

 private:
  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> pending_{};  // its first `size_` mod 64 bytes await the rest of a block
  uint64_t size_ = 0;
};

std::string hex(const Sha256::Digest& digest);

// In hex.
std::string sha256(std::string_view data);

}  // namespace deltaport
