// SparseMoE, and SharedExpertMoE: one set of kernels, with or without the shared expert.
#include "kernels/sparse_moe/cuda.h"

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

namespace {

namespace kernels = DELTAPORT_ISA;

constexpr Port kX{"x", Type::kActivation, "B,T,H"};
constexpr Port kRouterLogits{"router_logits", Type::kActivation, "B,T,E"};
constexpr Port kGateUp{"gate_up", Type::kActivation, "E,2*I,H"};
constexpr Port kDown{"down", Type::kActivation, "E,H,I"};
constexpr Port kSharedGate{"shared_gate", Type::kActivation, "1,H"};
constexpr Port kSharedGateUp{"shared_gate_up", Type::kActivation, "2*Is,H"};
constexpr Port kSharedDown{"shared_down", Type::kActivation, "H,Is"};
constexpr Port kLengths{"lengths", Type::kInt64, "B"};
constexpr Port kY{"y", Type::kActivation, "B,T,H"};

constexpr Attribute kTopK{
    .name = "top_k", .type = nvinfer1::PluginFieldType::kINT64, .least = 1};

void check(const Sizes& sizes, const Attributes& attributes) {
  sizes.require("E", 1, kernels::kMostExperts);
  const int64_t top_k = attributes.whole("top_k"), experts = sizes["E"];
  const int64_t known = experts == 0 ? kernels::kMostExperts : experts;
  const int64_t most = known < kernels::kMostTopK ? known : kernels::kMostTopK;
  if (top_k <= most) return;
  throw std::invalid_argument("top_k is " + std::to_string(top_k) + ", but the kernel takes 1 to " +
                              std::to_string(most) + (most == experts ? ", the experts" : ""));
}

// Without tensors. A mixture without a shared expert has none of a width.
kernels::MoEArgs shape_of(const Sizes& sizes, const Attributes& attributes, int64_t shared_inner) {
  kernels::MoEArgs args{};
  args.rows = sizes["B"];
  args.tokens = sizes["T"];
  args.hidden = sizes["H"];
  args.experts = sizes["E"];
  args.inner = sizes["I"];
  args.top_k = attributes.whole("top_k");
  args.shared_inner = shared_inner;
  return args;
}

size_t bytes_of(const kernels::MoEArgs& args) {
  return static_cast<size_t>(kernels::moe_workspace_bytes(args));
}

Weights floats(const Call& call, const char* port) {
  return {call.input<void>(port), call.activations};
}

// All but the shared expert.
kernels::MoEArgs read_mixture(const Call& call, int64_t shared_inner) {
  kernels::MoEArgs args = shape_of(call.sizes, call.attributes, shared_inner);
  args.x = floats(call, "x");
  args.router_logits = floats(call, "router_logits");
  args.lengths = call.input<int64_t>("lengths");
  args.gate_up.elements = floats(call, "gate_up");
  args.down.elements = floats(call, "down");
  args.y = call.output<void>("y");
  return args;
}

cudaError_t launch(const Call& call) {
  return kernels::run_sparse_moe(read_mixture(call, 0), call.workspace, call.stream);
}

cudaError_t launch_shared(const Call& call) {
  kernels::MoEArgs args = read_mixture(call, call.sizes["Is"]);
  args.shared_gate = floats(call, "shared_gate");
  args.shared_gate_up.elements = floats(call, "shared_gate_up");
  args.shared_down.elements = floats(call, "shared_down");
  return kernels::run_sparse_moe(args, call.workspace, call.stream);
}

}  // namespace

OpDescription describe_sparse_moe() {
  return {.name = "SparseMoE",
          .inputs = {kX, kRouterLogits, kGateUp, kDown, kLengths},
          .outputs = {kY},
          .attributes = {kTopK},
          .check = check,
          .launch = launch,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes_of(shape_of(most, attributes, 0));
          }};
}

OpDescription describe_shared_expert_moe() {
  return {.name = "SharedExpertMoE",
          .inputs = {kX, kRouterLogits, kGateUp, kDown, kSharedGate, kSharedGateUp, kSharedDown,
                     kLengths},
          .outputs = {kY},
          .attributes = {kTopK},
          .check = check,
          .launch = launch_shared,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes_of(shape_of(most, attributes, most["Is"]));
          }};
}

}  // namespace deltaport::tensorrt
