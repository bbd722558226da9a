// Launches kernels of launch.h on a GPU. The tests have another header of this name, by which the
// files that include this one compile for hosts.
#pragma once

#include "simt/launch.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kSharedWithoutAsking = 48 * 1024;

template <class Kernel, class Args>
__global__ void __launch_bounds__(Kernel::threads) run_block(const __grid_constant__ Args args) {
  extern __shared__ float4 memory[];
  const DeviceTeam<Kernel::threads> team;
  Kernel::run(team, args, reinterpret_cast<typename Kernel::Shared&>(memory),
              Blocks{blockIdx.x, blockIdx.y, blockIdx.z});
}

// Returns what the launch does. No blocks are no launch.
template <class Kernel, class Args>
cudaError_t launch(const Args& args, const Blocks& blocks, cudaStream_t stream) {
  if (blocks.count() == 0) return cudaSuccess;
  constexpr int kMemory = sizeof(typename Kernel::Shared);
  if constexpr (kMemory > kSharedWithoutAsking) {
    constexpr auto kAttribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
    const auto kernel = run_block<Kernel, Args>;
    const cudaError_t asked = cudaFuncSetAttribute(kernel, kAttribute, kMemory);
    if (asked != cudaSuccess) {
      cudaGetLastError();  // or whoever launches next would find it, and take it for their own
      return asked;
    }
  }
  const dim3 grid(static_cast<unsigned>(blocks.x), static_cast<unsigned>(blocks.y),
                  static_cast<unsigned>(blocks.z));
  run_block<Kernel><<<grid, Kernel::threads, kMemory, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace deltaport::DELTAPORT_ISA
