// What runs on GPUs compiled for the host, where the threads of a team take turns: for its tests.
#define DELTAPORT_ISA simt_on_host
#define DELTAPORT_SIMT
#include "kernels/causal_conv1d/simt_conv.h"
#include "kernels/gated_delta_rule/simt_steps.h"

namespace deltaport::simt_on_host {

template <class Element>
void run_delta_steps(const DeltaRuleArgs<Element>& args) {
  using Team = HostTeam<kStepThreads>;
  const Team team;
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t head = 0; head < args.value_heads; ++head) {
      DeltaStepsShared shared;
      DeltaSteps<Element, Team>{team, args, {args, row, head}, shared}.run();
    }
  }
}

template <class Element>
bool run_convolution(const ConvArgs<Element>& args) {
  using Team = HostTeam<kConvThreads>;
  const Team team;
  return with_taps(args.taps, [&]<int taps>() {
    for (int64_t row = 0; row < args.rows; ++row) {
      for (int64_t stretch = 0; stretch * kConvTokens < args.tokens; ++stretch) {
        for (int64_t block = 0; block * kConvThreads < args.channels; ++block) {
          Convolution<Element, taps, Team>{team, args, row, block, stretch}.run();
        }
      }
    }
  });
}

}  // namespace deltaport::simt_on_host

using namespace deltaport;
using namespace deltaport::simt_on_host;

extern "C" {

void gated_delta_steps_float32(const DeltaRuleArgs<float>* args) { run_delta_steps(*args); }
void gated_delta_steps_bfloat16(const DeltaRuleArgs<BFloat16>* args) { run_delta_steps(*args); }
void gated_delta_steps_float16(const DeltaRuleArgs<Float16>* args) { run_delta_steps(*args); }

bool causal_conv1d_float32(const ConvArgs<float>* args) { return run_convolution(*args); }
bool causal_conv1d_bfloat16(const ConvArgs<BFloat16>* args) { return run_convolution(*args); }
bool causal_conv1d_float16(const ConvArgs<Float16>* args) { return run_convolution(*args); }

void narrow_bfloat16(const float* x, BFloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(x[i], to + i);
}
void narrow_float16(const float* x, Float16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(x[i], to + i);
}
}
