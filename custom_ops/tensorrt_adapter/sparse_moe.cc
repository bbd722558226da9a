// SparseMoE, and SharedExpertMoE: one set of kernels, with or without the shared expert.
#include "tensorrt_adapter/mixture.h"

namespace deltaport::tensorrt {

namespace {

namespace kernels = DELTAPORT_ISA;

constexpr Port kGateUp{"gate_up", Type::kActivation, "E,2*I,H"};
constexpr Port kDown{"down", Type::kActivation, "E,H,I"};
constexpr Port kSharedGateUp{"shared_gate_up", Type::kActivation, "2*Is,H"};
constexpr Port kSharedDown{"shared_down", Type::kActivation, "H,Is"};

size_t bytes(const Sizes& most, const Attributes& attributes, int64_t shared_inner) {
  const auto shape = mixture_shape(most, attributes, most["I"], shared_inner);
  return static_cast<size_t>(kernels::moe_workspace_bytes(shape));
}

// All but the shared expert.
kernels::MoEArgs read_mixture(const Call& call, int64_t shared_inner) {
  kernels::MoEArgs args = read_tokens(call, call.sizes["I"], shared_inner);
  args.gate_up.elements = activations_of(call, "gate_up");
  args.down.elements = activations_of(call, "down");
  return args;
}

cudaError_t launch(const Call& call) {
  return kernels::run_sparse_moe(read_mixture(call, 0), call.workspace, call.stream);
}

cudaError_t launch_shared(const Call& call) {
  kernels::MoEArgs args = read_mixture(call, call.sizes["Is"]);
  args.shared_gate = activations_of(call, "shared_gate");
  args.shared_gate_up.elements = activations_of(call, "shared_gate_up");
  args.shared_down.elements = activations_of(call, "shared_down");
  return kernels::run_sparse_moe(args, call.workspace, call.stream);
}

}  // namespace

OpDescription describe_sparse_moe() {
  return {.name = "SparseMoE",
          .inputs = {kX, kRouterLogits, kGateUp, kDown, kLengths},
          .outputs = {kY},
          .attributes = {kTopK},
          .check = check_experts,
          .launch = launch,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes(most, attributes, 0);
          }};
}

OpDescription describe_shared_expert_moe() {
  return {.name = "SharedExpertMoE",
          .inputs = {kX, kRouterLogits, kGateUp, kDown, kSharedGate, kSharedGateUp, kSharedDown,
                     kLengths},
          .outputs = {kY},
          .attributes = {kTopK},
          .check = check_experts,
          .launch = launch_shared,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes(most, attributes, most["Is"]);
          }};
}

}  // namespace deltaport::tensorrt
