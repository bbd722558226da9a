// What ONNX Runtime calls when a session's options are given this library.

#include <memory>
#include <string>
#include <vector>

#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

// Sessions refer to the domain and its ops for as long as they live: until the process ends.
CustomOpDomain* the_domain(const Api& api) {
  static std::vector<std::unique_ptr<OpAdapter>> ops;
  static CustomOpDomain* const domain = [&api] {
    CustomOpDomain* made = nullptr;
    check(api, api.create_domain("ai.deltaport", &made));
    for (const auto describe :
         {describe_add_rms_norm, describe_causal_conv1d, describe_gated_attention,
          describe_gated_delta_rule, describe_gated_delta_rule_norm, describe_linear,
          describe_quantized_gather, describe_quantized_linear, describe_quantized_moe, describe_quantized_shared_expert_moe,
          describe_shared_expert_moe, describe_sparse_moe, describe_swiglu}) {
      ops.push_back(std::make_unique<OpAdapter>(describe()));
      check(api, api.add_op(made, ops.back().get()));
    }
    return made;
  }();
  return domain;
}

}  // namespace

}  // namespace deltaport::ort

#define DELTAPORT_EXPORT extern "C" __attribute__((visibility("default")))

// The instruction sets this machine has kernels for, best first, separated by commas.
DELTAPORT_EXPORT const char* deltaport_supported_isas() {
  static const std::string names = [] {
    std::string joined;
    for (const std::string& name : deltaport::supported_isas()) {
      joined += (joined.empty() ? "" : ",") + name;
    }
    return joined;
  }();
  return names.c_str();
}

DELTAPORT_EXPORT deltaport::ort::Status* RegisterCustomOps(
    deltaport::ort::SessionOptions* options, const deltaport::ort::ApiBase* base) {
  using namespace deltaport::ort;
  const void* table = base->get_api(kApiVersion);
  if (table == nullptr) {
    const std::string problem = std::string("ONNX Runtime ") + base->version_string() +
                                " has no interface of version " + std::to_string(kApiVersion) +
                                ", which deltaport's kernels need; install onnxruntime 1.24 or a "
                                "later 1.x";
    return Api(base->get_api(1)).create_status(kFail, problem.c_str());
  }
  const Api api(table);
  try {
    check(api, api.add_domain(options, the_domain(api)));
    return nullptr;
  } catch (const std::exception& error) {
    return api.create_status(kFail, error.what());
  }
}
