// The sizes in which the tensors of a call fit the shapes of their ports.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

#include "tensorrt_adapter/signature.h"

namespace deltaport::tensorrt {

// A value for each size of a signature; 0 where it is not known.
class Sizes {
 public:
  // Those that all ports together have with these dimensions, of which the ones below 0 are not
  // known yet. A size no dimension names alone follows from the others, as Hk from 2*Hk*Dk+Hv*Dv.
  // Throws std::invalid_argument where dimensions do not fit together.
  Sizes(const Signature& signature, const std::vector<nvinfer1::Dims>& dims);

  int64_t operator[](const char* name) const;
  // Throws std::invalid_argument unless the size is within these, or not known.
  void require(const char* name, int64_t least, int64_t most) const;

 private:
  enum class Finding { kNothing, kSize, kMisfit };
  Finding solve(const Dimension& dimension, int64_t extent);
  bool learn_from(size_t port, const nvinfer1::Dims& dims);
  [[noreturn]] void fail(size_t port, const nvinfer1::Dims& dims) const;

  const Signature& signature_;
  std::vector<int64_t> values_;
};

}  // namespace deltaport::tensorrt
