// The ports of an op and their shapes, parsed from the text that definitions have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace deltaport::tensorrt {

// What a tensor holds. All activations of a call have one type: float32, bfloat16 or float16.
//
// Quantized weights lie in memory as custom_ops/definitions/quantized_weights.py says. Their codes,
// uint8 there, are kInt8: of uint8 constants TensorRT's parser makes int32, of four times the
// bytes, and int8 it leaves alone, so a lowered graph has the same bytes as int8. Their scales are
// kBFloat16 beside activations of any type, which strongly typed networks allow.
enum class Type { kActivation, kFloat32, kBFloat16, kInt64, kInt8 };

struct Port {
  const char* name;
  Type type;
  const char* shape;  // such as "B,T,2*Hk*Dk+Hv*Dv"
};

// A factor times the sizes that have these numbers. A dimension is a sum of such terms.
struct Term {
  int64_t factor;
  std::vector<size_t> sizes;
};
using Dimension = std::vector<Term>;

struct Signature {
  Signature(const std::vector<Port>& inputs, const std::vector<Port>& outputs);

  std::vector<Port> ports;  // inputs, then outputs
  size_t input_count;
  std::vector<std::vector<Dimension>> shapes;  // of ports
  std::vector<std::string> size_names;         // by number

 private:
  Dimension parse_dimension(const std::string& text);
  Term parse_term(const std::string& text);
};

}  // namespace deltaport::tensorrt
