// A library of plugins that has none: plans that a fake TensorRT runs call none.
#include <cstdint>

extern "C" __attribute__((visibility("default"))) void* const* getCreators(int32_t& count) {
  static void* const none = nullptr;
  count = 0;
  return &none;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(void*) {}
