// In place of custom_ops/simt/launch_cuda.h: kernels run on the host where they are launched, their
// blocks, threads and lanes one after another, in order or backwards as fake_gpu.h says.
#pragma once

#include <cuda_runtime_api.h>

#include <cstring>

#include "fake_gpu.h"
#include "simt/launch.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

template <class Kernel, bool backwards, class Args>
void run_blocks(const Args& args, const Blocks& blocks) {
  const HostTeam<Kernel::threads, backwards> team;
  const int64_t count = blocks.count();
  for (int64_t turn = 0; turn < count; ++turn) {
    const int64_t at = backwards ? count - 1 - turn : turn;
    typename Kernel::Shared shared;
    memset(&shared, 0xFF, sizeof shared);  // NaN in what nobody wrote
    Kernel::run(team, args, shared,
                Blocks{at % blocks.x, at / blocks.x % blocks.y, at / blocks.x / blocks.y});
  }
}

template <class Kernel, class Args>
cudaError_t launch(const Args& args, const Blocks& blocks, cudaStream_t stream) {
  if (!fake_gpu_begins(stream)) return cudaErrorInvalidValue;
  if (fake_gpu_is_backwards()) {
    run_blocks<Kernel, true>(args, blocks);
  } else {
    run_blocks<Kernel, false>(args, blocks);
  }
  fake_gpu_ends();
  return cudaSuccess;
}

}  // namespace deltaport::DELTAPORT_ISA
