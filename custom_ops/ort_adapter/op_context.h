// One call of a kernel, as the adapter of its op sees it: inputs, outputs, attributes, checked.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/quantized/quantized_weights.h"
#include "ort_adapter/ort_abi.h"
#include "simd/element_type.h"

namespace deltaport::ort {

using Dims = std::vector<int64_t>;
constexpr size_t kAnyRank = static_cast<size_t>(-1);

// Throws std::runtime_error with ONNX Runtime's message if a call of it failed.
void check(const Api& api, Status* status);

struct Attributes {
  std::map<std::string, float> floats;
  std::map<std::string, int64_t> ints;
};

class OpContext {
 public:
  OpContext(const Api& api, KernelContext* context, const char* op, const Attributes& attributes)
      : attributes(attributes), api_(api), context_(context), op_(op) {}

  const Attributes& attributes;

  // The size of each axis of an input. Throws std::invalid_argument unless it has `rank` axes,
  // where a rank is given.
  Dims dims(size_t input, const char* name, size_t rank = kAnyRank) const;

  // The data of an input. Each throws std::invalid_argument unless the input is of that shape and,
  // for weights, of one of the three floating-point types.
  const float* floats(size_t input, const char* name, const Dims& expected) const;
  const int64_t* ints(size_t input, const char* name, const Dims& expected) const;
  Weights weights(size_t input, const char* name, const Dims& expected) const;

  // Codes and the scales that are the input after them, for `rows` rows of `inputs` inputs in
  // `parts` parts, each padded to whole tiles. The first axes are `outer`.
  QuantizedWeights quantized(size_t input, const char* name, int64_t rows, int64_t inputs,
                             int64_t parts = 1, const Dims& outer = {}) const;

  // `lengths` [B], each from 0 to `tokens`.
  const int64_t* lengths(size_t input, int64_t rows, int64_t tokens) const;

  float* output(size_t index, const Dims& dims) const;

  // ONNX Runtime's own threads.
  Parallel parallel() const;

  [[noreturn]] void fail(const std::string& problem) const;

 private:
  struct Input {
    const Value* value;
    TensorType type;
    Dims dims;
  };
  Input input(size_t index) const;
  const void* data(size_t index, const char* name, const Dims& expected, TensorType type) const;
  void check_dims(const char* name, const Dims& found, const Dims& expected) const;

  const Api& api_;
  KernelContext* context_;
  const char* op_;
};

}  // namespace deltaport::ort
