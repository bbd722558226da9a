// Threads that all have the first turn of a phase: none sees what another one writes to shared
// memory before the phase is over, as it may be on a GPU. So it is with the lanes of a warp in a
// phase of warps, too, though they share registers. What was written is told from what was there
// before: who writes the same byte again is not seen, nor is what happens in global memory.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// Shared memory during a phase: as it was before, and what has been written since by each of those
// who have turns.
class Phase {
 public:
  using Writes = std::vector<std::pair<size_t, unsigned char>>;

  Phase(unsigned char* shared, size_t bytes)
      : shared_(shared), before_(shared, shared + bytes), after_(before_) {}

  // Lets body write, whose own earlier writes it sees, and takes back what it wrote.
  template <class Body>
  void turn(Writes& writes, const Body& body) {
    for (const auto& [at, value] : writes) shared_[at] = value;
    body();
    writes.clear();
    if (memcmp(shared_, before_.data(), before_.size()) == 0) return;
    for (size_t at = 0; at < before_.size(); ++at) {
      if (shared_[at] != before_[at]) writes.emplace_back(at, shared_[at]);
    }
    memcpy(shared_, before_.data(), before_.size());
  }
  // Says whether nobody else wrote there.
  bool add(const Writes& writes) {
    bool is_alone = true;
    for (const auto& [at, value] : writes) {
      is_alone &= after_[at] == before_[at];
      after_[at] = value;
    }
    return is_alone;
  }
  void end() { memcpy(shared_, after_.data(), after_.size()); }

 private:
  unsigned char* const shared_;
  const std::vector<unsigned char> before_;
  std::vector<unsigned char> after_;
};

template <int count>
class ApartTeam : public HostTeam<count> {
 public:
  template <class Shared>
  explicit ApartTeam(Shared& shared)
      : shared_(reinterpret_cast<unsigned char*>(&shared)), bytes_(sizeof shared) {}

  template <class Body>
  void each(const Body& body) const {
    Phase phase(shared_, bytes_);
    for (int thread = 0; thread < count; ++thread) {
      Phase::Writes writes;
      phase.turn(writes, [&] { body(thread); });
      has_collided_ |= !phase.add(writes);
    }
    phase.end();
  }
  template <class Body>
  void each_warp(const Body& body) const {
    Phase phase(shared_, bytes_);
    now_ = &phase;
    for (int warp = 0; warp < count / kLanes; ++warp) {
      for (Phase::Writes& writes : lanes_) writes.clear();
      body(warp);
      for (const Phase::Writes& writes : lanes_) has_collided_ |= !phase.add(writes);
    }
    phase.end();
  }
  template <class Body>
  static void each_lane(const Body& body) {
    for (int lane = 0; lane < kLanes; ++lane) {
      now_->turn(lanes_[lane], [&] { body(lane, lane); });
    }
  }

  // Whether two threads, warps or lanes changed the same byte in one phase.
  bool has_collided() const { return has_collided_; }

 private:
  static inline Phase* now_ = nullptr;  // a phase of warps, and what its lanes wrote
  static inline Phase::Writes lanes_[kLanes];

  unsigned char* const shared_;
  const size_t bytes_;
  mutable bool has_collided_ = false;
};

}  // namespace deltaport::DELTAPORT_ISA
