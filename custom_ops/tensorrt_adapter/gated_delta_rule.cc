// GatedDeltaRule, and GatedDeltaRuleNorm: one kernel, with or without the norm.
#include "kernels/gated_delta_rule/cuda.h"

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

namespace {

namespace kernels = DELTAPORT_ISA;

constexpr Port kQkv{"qkv", Type::kActivation, "B,T,2*Hk*Dk+Hv*Dv"};
constexpr Port kA{"a", Type::kActivation, "B,T,Hv"}, kB{"b", Type::kActivation, "B,T,Hv"};
constexpr Port kALog{"A_log", Type::kFloat32, "Hv"}, kDtBias{"dt_bias", Type::kFloat32, "Hv"};
constexpr Port kState{"state", Type::kFloat32, "B,Hv,Dk,Dv"};
constexpr Port kLengths{"lengths", Type::kInt64, "B"};
constexpr Port kZ{"z", Type::kActivation, "B,T,Hv*Dv"}, kNorm{"norm", Type::kFloat32, "Dv"};
constexpr Port kO{"o", Type::kActivation, "B,T,Hv*Dv"};
constexpr Port kNewState{"new_state", Type::kFloat32, "B,Hv,Dk,Dv"};

Attribute epsilon(const char* name) {
  return {.name = name, .type = nvinfer1::PluginFieldType::kFLOAT32, .least = 0, .fallback = 1e-6};
}

void check(const Sizes& sizes, const Attributes&) {
  sizes.require("Dk", 1, kernels::kMostKeyDim);
  sizes.require("Dv", 1, kernels::kMostValueDim);
  const int64_t value_heads = sizes["Hv"], key_heads = sizes["Hk"];
  if (key_heads > 0 && value_heads % key_heads != 0) {
    throw std::invalid_argument("Hv is " + std::to_string(value_heads) +
                                ", which is no multiple of Hk, " + std::to_string(key_heads));
  }
}

// All but what the norm reads.
template <class Element>
kernels::DeltaRuleArgs<Element> read_rule(const Call& call) {
  return {
      .rows = call.sizes["B"],
      .tokens = call.sizes["T"],
      .key_heads = call.sizes["Hk"],
      .value_heads = call.sizes["Hv"],
      .key_dim = call.sizes["Dk"],
      .value_dim = call.sizes["Dv"],
      .qkv = call.input<Element>("qkv"),
      .a = call.input<Element>("a"),
      .b = call.input<Element>("b"),
      .A_log = call.input<float>("A_log"),
      .dt_bias = call.input<float>("dt_bias"),
      .state = call.input<float>("state"),
      .lengths = call.input<int64_t>("lengths"),
      .norm_eps = call.attributes.real("norm_eps"),
      .z = nullptr,
      .norm = nullptr,
      .output_norm_eps = 0,
      .o = call.output<Element>("o"),
      .new_state = call.output<float>("new_state"),
  };
}

cudaError_t launch_rule(const Call& call) {
  return with_activations(call, [&]<class Element>() {
    return kernels::run_delta_rule(read_rule<Element>(call), call.stream);
  });
}

cudaError_t launch_rule_norm(const Call& call) {
  return with_activations(call, [&]<class Element>() {
    kernels::DeltaRuleArgs<Element> args = read_rule<Element>(call);
    args.z = call.input<Element>("z");
    args.norm = call.input<float>("norm");
    args.output_norm_eps = call.attributes.real("output_norm_eps");
    return kernels::run_delta_rule(args, call.stream);
  });
}

}  // namespace

OpDescription describe_gated_delta_rule() {
  return {.name = "GatedDeltaRule",
          .inputs = {kQkv, kA, kB, kALog, kDtBias, kState, kLengths},
          .outputs = {kO, kNewState},
          .attributes = {epsilon("norm_eps")},
          .check = check,
          .launch = launch_rule};
}

OpDescription describe_gated_delta_rule_norm() {
  return {.name = "GatedDeltaRuleNorm",
          .inputs = {kQkv, kZ, kA, kB, kALog, kDtBias, kNorm, kState, kLengths},
          .outputs = {kO, kNewState},
          .attributes = {epsilon("norm_eps"), epsilon("output_norm_eps")},
          .check = check,
          .launch = launch_rule_norm};
}

}  // namespace deltaport::tensorrt
