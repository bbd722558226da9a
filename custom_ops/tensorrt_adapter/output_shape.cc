#include "tensorrt_adapter/output_shape.h"

#include <stdexcept>

namespace deltaport::tensorrt {

namespace {

using nvinfer1::DimensionOperation;
using nvinfer1::IDimensionExpr;

class Writer {
 public:
  Writer(const Signature& signature, nvinfer1::IExprBuilder& builder)
      : signature_(signature), builder_(builder), sizes_(signature.size_names.size(), nullptr) {}

  // Sizes that are a dimension by themselves are that dimension.
  void read(size_t port, const nvinfer1::DimsExprs& dims) {
    const std::vector<Dimension>& shape = signature_.shapes[port];
    if (dims.nbDims != static_cast<int32_t>(shape.size())) {
      const Port& expected = signature_.ports[port];
      throw std::invalid_argument(std::string(expected.name) + " has " +
                                  std::to_string(dims.nbDims) + " dimensions, not those of [" +
                                  expected.shape + "]");
    }
    for (size_t i = 0; i < shape.size(); ++i) {
      const Term& first = shape[i].front();
      const bool is_size = shape[i].size() == 1 && first.factor == 1 && first.sizes.size() == 1;
      if (is_size && sizes_[first.sizes[0]] == nullptr) sizes_[first.sizes[0]] = dims.d[i];
    }
  }

  const IDimensionExpr* write(const Dimension& dimension) const {
    const IDimensionExpr* sum = nullptr;
    for (const Term& term : dimension) {
      sum = join(DimensionOperation::kSUM, sum, write(term));
    }
    return sum;
  }

 private:
  const IDimensionExpr* write(const Term& term) const {
    const IDimensionExpr* product = nullptr;
    if (term.factor != 1 || term.sizes.empty()) product = builder_.constant(term.factor);
    for (size_t size : term.sizes) {
      if (sizes_[size] == nullptr) {
        throw std::logic_error("no input has a dimension " + signature_.size_names[size]);
      }
      product = join(DimensionOperation::kPROD, product, sizes_[size]);
    }
    return product;
  }

  const IDimensionExpr* join(DimensionOperation operation, const IDimensionExpr* a,
                             const IDimensionExpr* b) const {
    return a == nullptr ? b : builder_.operation(operation, *a, *b);
  }

  const Signature& signature_;
  nvinfer1::IExprBuilder& builder_;
  std::vector<const IDimensionExpr*> sizes_;
};

}  // namespace

nvinfer1::DimsExprs output_shape(const Signature& signature, size_t output,
                                 const nvinfer1::DimsExprs* inputs,
                                 nvinfer1::IExprBuilder& builder) {
  Writer writer(signature, builder);
  for (size_t port = 0; port < signature.input_count; ++port) writer.read(port, inputs[port]);
  const std::vector<Dimension>& shape = signature.shapes[signature.input_count + output];
  nvinfer1::DimsExprs result{};
  result.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) result.d[i] = writer.write(shape[i]);
  return result;
}

}  // namespace deltaport::tensorrt
