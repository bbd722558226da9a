// ONNX graphs that onnxruntime runs on the memory of the fake GPU.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "cuda.h"
#include "ort_adapter/ort_abi.h"

namespace fake {

namespace ort = deltaport::ort;

inline void need(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "fake TensorRT: %s\n", what.c_str());
  std::abort();
}

inline const ort::Api& api() {
  static const ort::Api* const found = [] {
    void* const library = dlopen(std::getenv("FAKE_TENSORRT_ORT"), RTLD_NOW | RTLD_LOCAL);
    need(library != nullptr, "FAKE_TENSORRT_ORT names no library");
    using GetBase = const ort::ApiBase* (*)();
    const auto base = reinterpret_cast<GetBase>(dlsym(library, "OrtGetApiBase"))();
    return new ort::Api(base->get_api(ort::kApiVersion));
  }();
  return *found;
}

inline void check(ort::Status* status) {
  need(status == nullptr, status == nullptr ? "" : api().error_message(status));
}

struct Port {
  std::string name;
  ort::TensorType type;
  std::vector<int64_t> shape;
  bool is_input;

  size_t item() const { return type == ort::kFloat32 ? 4 : type == ort::kInt64 ? 8 : 2; }
};

// Shapes and addresses as they are when a run is put into a stream.
using Shapes = std::map<std::string, std::vector<int64_t>>;
using Addresses = std::map<std::string, void*>;

struct Graph {
  int64_t slots = 0, prefill_tokens = 0;
  ort::Session* session = nullptr;
  ort::MemoryInfo* cpu = nullptr;
  std::vector<Port> ports;

  ~Graph() { api().release_session(session); }
  void read_ports();
  // Whether the graph takes what it is fed.
  bool run(const Shapes& shapes, const Addresses& addresses) const;
};

inline void Graph::read_ports() {
  for (const bool is_input : {true, false}) {
    size_t count = 0;
    ort::Allocator* allocator = nullptr;
    check(api().default_allocator(&allocator));
    check(is_input ? api().input_count(session, &count) : api().output_count(session, &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      ort::TypeInfo* info = nullptr;
      const ort::TensorInfo* tensor = nullptr;
      size_t rank = 0;
      check(is_input ? api().input_name(session, i, allocator, &name)
                     : api().output_name(session, i, allocator, &name));
      check(is_input ? api().input_type(session, i, &info) : api().output_type(session, i, &info));
      check(api().as_tensor_info(info, &tensor));
      Port port{name, ort::kUndefined, {}, is_input};
      check(api().element_type(tensor, &port.type));
      check(api().rank(tensor, &rank));
      port.shape.resize(rank);
      check(api().dimensions(tensor, port.shape.data(), rank));
      ports.push_back(port);
      api().release_type_info(info);
      check(api().free(allocator, name));
    }
  }
}

inline bool Graph::run(const Shapes& shapes, const Addresses& addresses) const {
  std::vector<const char*> input_names, output_names;
  std::vector<std::vector<char>> copies;  // the graph does not mind that buffers are one
  std::vector<ort::Value*> inputs, outputs;
  for (const Port& port : ports) {
    (port.is_input ? input_names : output_names).push_back(port.name.c_str());
    if (!port.is_input) continue;
    const std::vector<int64_t>& shape = shapes.at(port.name);
    size_t bytes = port.item();
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    const char* const data = static_cast<const char*>(addresses.at(port.name));
    need(is_of_the_gpu(data, bytes), port.name + " is not in the memory of the GPU");
    std::vector<char>& copy = copies.emplace_back(data, data + bytes);
    check(api().create_tensor(cpu, copy.data(), bytes, shape.data(), shape.size(), port.type,
                              &inputs.emplace_back()));
  }
  outputs.resize(output_names.size());
  ort::Status* const status =
      api().run(session, static_cast<const ort::RunOptions*>(nullptr), input_names.data(),
                static_cast<const ort::Value* const*>(inputs.data()), inputs.size(),
                output_names.data(), outputs.size(), outputs.data());
  if (status != nullptr) api().release_status(status);
  for (size_t i = 0; i < outputs.size() && status == nullptr; ++i) {
    const Port& port = ports[inputs.size() + i];
    ort::TensorInfo* info = nullptr;
    void* data = nullptr;
    size_t rank = 0, bytes = port.item();
    check(api().tensor_info(outputs[i], &info));
    check(api().rank(info, &rank));
    std::vector<int64_t> shape(rank);
    check(api().dimensions(info, shape.data(), rank));
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    api().release_tensor_info(info);
    check(api().tensor_data(outputs[i], &data));
    void* const to = addresses.at(port.name);
    need(is_of_the_gpu(to, bytes), port.name + " is not in the memory of the GPU");
    std::memcpy(to, data, bytes);
  }
  for (const auto* values : {&inputs, &outputs}) {
    for (ort::Value* value : *values) {
      if (value != nullptr) api().release_value(value);
    }
  }
  return status == nullptr;
}

}  // namespace fake
