#include "tensorrt_adapter/sizes.h"

#include <stdexcept>

namespace deltaport::tensorrt {

namespace {

std::string text_of(const nvinfer1::Dims& dims) {
  std::string text = "[";
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    if (i > 0) text += ",";
    text += dims.d[i] < 0 ? "?" : std::to_string(dims.d[i]);
  }
  return text + "]";
}

}  // namespace

Sizes::Sizes(const Signature& signature, const std::vector<nvinfer1::Dims>& dims)
    : signature_(signature), values_(signature.size_names.size(), 0) {
  // The last round learns nothing and has checked every dimension with all that can be known.
  for (bool has_learned = true; has_learned;) {
    has_learned = false;
    for (size_t port = 0; port < dims.size(); ++port) has_learned |= learn_from(port, dims[port]);
  }
}

// Whether another size is known now.
bool Sizes::learn_from(size_t port, const nvinfer1::Dims& dims) {
  const std::vector<Dimension>& shape = signature_.shapes[port];
  if (dims.nbDims != static_cast<int32_t>(shape.size())) fail(port, dims);
  bool has_learned = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (dims.d[i] < 0) continue;
    const Finding finding = solve(shape[i], dims.d[i]);
    if (finding == Finding::kMisfit) fail(port, dims);
    has_learned |= finding == Finding::kSize;
  }
  return has_learned;
}

// Solves dimension = extent for the one size that is not known, where it is just one: by a whole
// number of at least 1, or the two do not fit.
Sizes::Finding Sizes::solve(const Dimension& dimension, int64_t extent) {
  int64_t known = 0, factor = 0;
  size_t unknown = 0, unknown_count = 0;
  for (const Term& term : dimension) {
    const size_t before = unknown_count;
    int64_t product = term.factor;
    for (size_t size : term.sizes) {
      if (values_[size] > 0) {
        product *= values_[size];
      } else {
        unknown = size;
        ++unknown_count;
      }
    }
    (unknown_count == before ? known : factor) += product;
  }
  if (unknown_count > 1) return Finding::kNothing;
  const int64_t rest = extent - known;
  if (unknown_count == 0) return rest == 0 ? Finding::kNothing : Finding::kMisfit;
  if (rest % factor != 0 || rest / factor < 1) return Finding::kMisfit;
  values_[unknown] = rest / factor;
  return Finding::kSize;
}

void Sizes::fail(size_t port, const nvinfer1::Dims& dims) const {
  std::string text = signature_.ports[port].name;
  text += " is " + text_of(dims) + ", which does not fit [" + signature_.ports[port].shape + "]";
  const char* before = " with ";
  for (size_t i = 0; i < values_.size(); ++i) {
    if (values_[i] == 0) continue;
    text += before + signature_.size_names[i] + "=" + std::to_string(values_[i]);
    before = " ";
  }
  throw std::invalid_argument(text);
}

int64_t Sizes::operator[](const char* name) const {
  for (size_t i = 0; i < values_.size(); ++i) {
    if (signature_.size_names[i] == name) return values_[i];
  }
  throw std::logic_error(std::string("there is no size ") + name);
}

void Sizes::require(const char* name, int64_t least, int64_t most) const {
  const int64_t value = (*this)[name];
  if (value == 0 || (value >= least && value <= most)) return;
  throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) +
                              ", but the kernel takes " + std::to_string(least) + " to " +
                              std::to_string(most));
}

}  // namespace deltaport::tensorrt
