#include "ort_adapter/op_adapter.h"

#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <utility>

namespace deltaport::ort {

namespace {

// A node of a session: the op, its attributes, and the kernels for the instruction set that
// DELTAPORT_ISA named when the session was made.
struct Node {
  Api api;
  const OpDescription* description;
  Attributes attributes;
  const KernelTable* kernels;
};

// Runs body, and turns what it throws into a status.
template <class Body>
Status* guard(const Api& api, Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::invalid_argument& error) {
    return api.create_status(kInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return api.create_status(kFail, error.what());
  }
}

Attributes read_attributes(const Api& api, const OpDescription& op, const KernelInfo* info) {
  Attributes attributes = op.defaults;
  for (auto& [name, value] : attributes.floats) {
    float given = 0;
    Status* absent = api.float_attribute(info, name.c_str(), &given);
    if (absent == nullptr) {
      value = given;
    } else {
      api.release_status(absent);
    }
  }
  for (const std::string& name : op.required) {
    check(api, api.int_attribute(info, name.c_str(), &attributes.ints[name]));
  }
  for (const std::string& name : op.required_floats) {
    check(api, api.float_attribute(info, name.c_str(), &attributes.floats[name]));
  }
  return attributes;
}

Status* create_node(const CustomOp* op, const void* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  return guard(api, [&] {
    const OpDescription& description = static_cast<const OpAdapter*>(op)->description;
    const char* isa = std::getenv("DELTAPORT_ISA");
    *kernel = new Node{api, &description, read_attributes(api, description, info),
                       &kernels_for(isa == nullptr ? "" : isa)};
  });
}

Status* compute_node(void* kernel, KernelContext* context) {
  const Node& node = *static_cast<Node*>(kernel);
  return guard(node.api, [&] {
    const OpContext call(node.api, context, node.description->name, node.attributes);
    node.description->compute(call, *node.kernels, call.parallel());
  });
}

const OpDescription& description_of(const CustomOp* op) {
  return static_cast<const OpAdapter*>(op)->description;
}

}  // namespace

OpAdapter::OpAdapter(OpDescription given) : description(std::move(given)) {
  name = [](const CustomOp* op) { return description_of(op).name; };
  execution_provider = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU's
  input_type = [](const CustomOp* op, size_t i) {
    switch (description_of(op).inputs[i]) {
      case Port::kFloats: return kFloat32;
      case Port::kInts: return kInt64;
      case Port::kCodes: return kUint8;
      case Port::kScales: return kBFloat16;
      default: return kUndefined;
    }
  };
  input_count = [](const CustomOp* op) { return description_of(op).inputs.size(); };
  output_type = [](const CustomOp*, size_t) { return kFloat32; };
  output_count = [](const CustomOp* op) { return description_of(op).outputs; };
  destroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
  input_characteristic = [](const CustomOp*, size_t) { return 0; };
  output_characteristic = [](const CustomOp*, size_t) { return 0; };
  input_memory_type = [](const CustomOp*, size_t) { return 0; };
  variadic_input_min_arity = [](const CustomOp*) { return 1; };
  variadic_input_homogeneity = [](const CustomOp*) { return 0; };
  variadic_output_min_arity = [](const CustomOp*) { return 1; };
  variadic_output_homogeneity = [](const CustomOp*) { return 0; };
  create_kernel_v2 = &create_node;
  compute_v2 = &compute_node;
  start_version = [](const CustomOp*) { return 1; };
  end_version = [](const CustomOp*) { return 1; };
}

}  // namespace deltaport::ort
