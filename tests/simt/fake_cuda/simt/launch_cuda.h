// In place of custom_ops/simt/launch_cuda.h: kernels run on the host where they are launched, their
// blocks, threads and lanes one after another, as fake_gpu.h says.
#pragma once

#include <cuda_runtime_api.h>

#include <cstring>

#include "fake_gpu.h"
#include "simt/apart_team.h"
#include "simt/launch.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// body(shared memory, a block) for every block.
template <class Kernel, class Body>
void each_block(const Blocks& blocks, bool backwards, const Body& body) {
  const int64_t count = blocks.count();
  for (int64_t turn = 0; turn < count; ++turn) {
    const int64_t at = backwards ? count - 1 - turn : turn;
    typename Kernel::Shared shared;
    memset(&shared, 0xFF, sizeof shared);  // NaN in what nobody wrote
    body(shared, Blocks{at % blocks.x, at / blocks.x % blocks.y, at / blocks.x / blocks.y});
  }
}

template <class Kernel, bool backwards, class Args>
void run_in_turn(const Args& args, const Blocks& blocks) {
  const HostTeam<Kernel::threads, backwards> team;
  each_block<Kernel>(blocks, backwards, [&](auto& shared, const Blocks& block) {
    Kernel::run(team, args, shared, block);
  });
}

// Whether no two threads of a block changed the same place in one phase.
template <class Kernel, class Args>
bool run_apart(const Args& args, const Blocks& blocks) {
  bool has_collided = false;
  each_block<Kernel>(blocks, false, [&](auto& shared, const Blocks& block) {
    const ApartTeam<Kernel::threads> team(shared);
    Kernel::run(team, args, shared, block);
    has_collided |= team.has_collided();
  });
  return !has_collided;
}

template <class Kernel, class Args>
cudaError_t launch(const Args& args, const Blocks& blocks, cudaStream_t stream) {
  if (!fake_gpu_begins(stream)) return cudaErrorInvalidValue;
  bool is_sound = true;
  switch (fake_gpu_turns()) {
    case FakeGpuTurns::kForwards:
      run_in_turn<Kernel, false>(args, blocks);
      break;
    case FakeGpuTurns::kBackwards:
      run_in_turn<Kernel, true>(args, blocks);
      break;
    case FakeGpuTurns::kApart:
      is_sound = run_apart<Kernel>(args, blocks);
  }
  fake_gpu_ends();
  return is_sound ? cudaSuccess : cudaErrorCollision;
}

}  // namespace deltaport::DELTAPORT_ISA
