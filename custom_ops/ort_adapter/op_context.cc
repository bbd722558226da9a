#include "ort_adapter/op_context.h"

#include <exception>
#include <mutex>
#include <stdexcept>

namespace deltaport::ort {

namespace {

std::string text_of(const Dims& dims) {
  std::string text = "[";
  for (const int64_t size : dims) {
    if (text.size() > 1) text += ',';
    text += std::to_string(size);
  }
  return text += ']';
}

// What a task throws must not leave ONNX Runtime's thread; the first of it is thrown on here.
struct Guarded {
  Parallel::Task task;
  void* data;
  std::mutex mutex;
  std::exception_ptr thrown;

  static void run(void* self_pointer, size_t i) {
    auto& self = *static_cast<Guarded*>(self_pointer);
    try {
      self.task(self.data, i);
    } catch (...) {
      const std::lock_guard lock(self.mutex);
      if (!self.thrown) self.thrown = std::current_exception();
    }
  }
};

struct Pool {
  const Api* api;
  const KernelContext* context;
};

}  // namespace

void check(const Api& api, Status* status) {
  if (status == nullptr) return;
  const std::string message = api.error_message(status);
  api.release_status(status);
  throw std::runtime_error(message);
}

void OpContext::fail(const std::string& problem) const {
  throw std::invalid_argument(std::string(op_) + ": " + problem);
}

OpContext::Input OpContext::input(size_t index) const {
  Input input{};
  check(api_, api_.input(context_, index, &input.value));
  TensorInfo* info = nullptr;
  check(api_, api_.tensor_info(input.value, &info));
  size_t rank = 0;
  Status* failed = api_.element_type(info, &input.type);
  if (failed == nullptr) failed = api_.rank(info, &rank);
  input.dims.resize(rank);
  if (failed == nullptr) failed = api_.dimensions(info, input.dims.data(), rank);
  api_.release_tensor_info(info);
  check(api_, failed);
  return input;
}

Dims OpContext::dims(size_t index, const char* name, size_t rank) const {
  Dims found = input(index).dims;
  if (rank != kAnyRank && found.size() != rank) {
    fail(std::string(name) + " is " + text_of(found) + ", expected " + std::to_string(rank) +
         " dimensions");
  }
  return found;
}

void OpContext::check_dims(const char* name, const Dims& found, const Dims& expected) const {
  if (found != expected) {
    fail(std::string(name) + " is " + text_of(found) + ", expected " + text_of(expected));
  }
}

const void* OpContext::data(size_t index, const char* name, const Dims& expected,
                            TensorType type) const {
  const Input found = input(index);
  check_dims(name, found.dims, expected);
  if (found.type != type) {
    fail(std::string(name) + " has element type " + std::to_string(found.type) + ", expected " +
         std::to_string(type));
  }
  void* data = nullptr;
  check(api_, api_.tensor_data(const_cast<Value*>(found.value), &data));
  return data;
}

const float* OpContext::floats(size_t index, const char* name, const Dims& expected) const {
  return static_cast<const float*>(data(index, name, expected, kFloat32));
}

const int64_t* OpContext::ints(size_t index, const char* name, const Dims& expected) const {
  return static_cast<const int64_t*>(data(index, name, expected, kInt64));
}

Weights OpContext::weights(size_t index, const char* name, const Dims& expected) const {
  const TensorType type = input(index).type;
  if (type != kFloat32 && type != kFloat16 && type != kBFloat16) {
    fail(std::string(name) + " has element type " + std::to_string(type) +
         ", expected float, float16 or bfloat16");
  }
  const ElementType element = type == kFloat32   ? ElementType::kFloat32
                              : type == kFloat16 ? ElementType::kFloat16
                                                 : ElementType::kBFloat16;
  return {data(index, name, expected, type), element};
}

QuantizedWeights OpContext::quantized(size_t index, const char* name, int64_t rows, int64_t inputs,
                                      int64_t parts, const Dims& outer) const {
  const std::string scales_name = std::string(name) + "_scales";
  const Dims codes = dims(index, name, outer.size() + 4);
  const Dims scales = dims(index + 1, scales_name.c_str(), outer.size() + 4);
  const size_t at = outer.size();
  const int64_t groups = codes[at + 1], bits = codes[at + 2];
  const int64_t blocks = scales[at + 1], numbers = scales[at + 2];
  if (bits != 4 && bits != 8) {
    fail(std::string(name) + " has codes of " + std::to_string(bits) + " bits, expected 4 or 8");
  }
  if (groups < 1 || blocks < 1 || groups % blocks != 0 ||
      groups - groups / blocks >= (inputs + kGroupInputs - 1) / kGroupInputs ||
      groups * kGroupInputs < inputs) {
    fail(std::string(name) + " has " + std::to_string(blocks) + " blocks of " +
         std::to_string(groups) + " groups, expected enough for " + std::to_string(inputs) +
         " inputs and no more");
  }
  if (numbers != 1 && numbers != 2) {
    fail(scales_name + " has " + std::to_string(numbers) + " numbers a block, expected 1 or 2");
  }
  const int64_t tiles = parts * ((rows / parts + kTileOutputs - 1) / kTileOutputs);
  Dims expected_codes = outer, expected_scales = outer;
  expected_codes.insert(expected_codes.end(), {tiles, groups, bits, 64});
  expected_scales.insert(expected_scales.end(), {tiles, blocks, numbers, kTileOutputs});
  return {static_cast<const uint8_t*>(data(index, name, expected_codes, kUint8)),
          static_cast<const BFloat16*>(
              data(index + 1, scales_name.c_str(), expected_scales, kBFloat16)),
          static_cast<int>(bits), numbers == 2, groups, groups / blocks};
}

const int64_t* OpContext::lengths(size_t index, int64_t rows, int64_t tokens) const {
  const int64_t* lengths = ints(index, "lengths", {rows});
  for (int64_t row = 0; row < rows; ++row) {
    if (lengths[row] < 0 || lengths[row] > tokens) {
      fail("lengths[" + std::to_string(row) + "] is " + std::to_string(lengths[row]) +
           ", expected 0 to " + std::to_string(tokens));
    }
  }
  return lengths;
}

float* OpContext::output(size_t index, const Dims& dims) const {
  Value* value = nullptr;
  check(api_, api_.output(context_, index, dims.data(), dims.size(), &value));
  void* data = nullptr;
  check(api_, api_.tensor_data(value, &data));
  return static_cast<float*>(data);
}

Parallel OpContext::parallel() const {
  static thread_local Pool pool;
  pool = {&api_, context_};
  const auto run = [](void* data, size_t n, Parallel::Task task, void* task_data) {
    const Pool& pool = *static_cast<Pool*>(data);
    Guarded guarded{task, task_data, {}, nullptr};
    // As many batches as tasks: threads take the next one when they are through with theirs.
    check(*pool.api, pool.api->parallel_for(pool.context, &Guarded::run, n, n, &guarded));
    if (guarded.thrown) std::rethrow_exception(guarded.thrown);
  };
  return {run, &pool};
}

}  // namespace deltaport::ort
