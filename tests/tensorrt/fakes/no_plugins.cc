// A library of plugins whose plugins nobody makes: plans that a fake TensorRT runs call none.
#include <cstdint>

extern "C" __attribute__((visibility("default"))) void* const* getCreators(int32_t& count) {
  static void* const creators[] = {nullptr};
  count = 1;
  return creators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(void*) {}
