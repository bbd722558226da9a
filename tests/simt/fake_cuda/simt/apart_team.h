// Threads that all have the first turn of a phase: none sees what another one writes to shared memory
// before the phase is over, as it may be on a GPU.
#pragma once

#include <cstring>
#include <vector>

#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

template <int count>
class ApartTeam : public HostTeam<count> {
 public:
  template <class Shared>
  explicit ApartTeam(Shared& shared)
      : shared_(reinterpret_cast<unsigned char*>(&shared)), bytes_(sizeof shared) {}

  template <class Body>
  void each(const Body& body) const {
    take_turns(count, body);
  }
  template <class Body>
  void each_warp(const Body& body) const {
    take_turns(count / kLanes, body);
  }

  // Whether two threads, or warps, wrote the same byte in one phase.
  bool has_collided() const { return has_collided_; }

 private:
  using Bytes = std::vector<unsigned char>;

  template <class Body>
  void take_turns(int turns, const Body& body) const {
    const Bytes before(shared_, shared_ + bytes_);
    Bytes after = before;
    for (int i = 0; i < turns; ++i) {
      body(i);
      if (memcmp(shared_, before.data(), bytes_) == 0) continue;
      for (size_t at = 0; at < bytes_; ++at) {
        if (shared_[at] == before[at]) continue;
        has_collided_ |= after[at] != before[at];
        after[at] = shared_[at];
      }
      memcpy(shared_, before.data(), bytes_);
    }
    memcpy(shared_, after.data(), bytes_);
  }

  unsigned char* const shared_;
  const size_t bytes_;
  mutable bool has_collided_ = false;
};

}  // namespace deltaport::DELTAPORT_ISA
