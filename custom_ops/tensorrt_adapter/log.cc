#include "tensorrt_adapter/log.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>

namespace deltaport::tensorrt {

namespace {

using Finder = nvinfer1::ILoggerFinder;
using GetLogger = nvinfer1::ILogger* (*)() noexcept;
using GetVersion = int32_t (*)() noexcept;

std::atomic<Finder*> logger_finder = nullptr;
std::atomic<GetLogger> get_logger = nullptr;

// TensorRT, found by the code of its finder, as this library is not linked to it; null if it is
// none.
void* library_of(const Finder* finder) {
  const void* const code = *reinterpret_cast<const void* const*>(finder);
  Dl_info info{};
  return dladdr(code, &info) == 0 ? nullptr : dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

// Where log() stands among the functions of a logger is not the same in all versions: TensorRT 10
// has it first, TensorRT for RTX 1.7 behind those that tell an interface's version.
bool has_our_loggers(void* library) {
  const auto version = reinterpret_cast<GetVersion>(dlsym(library, "getInferLibVersion"));
  return version != nullptr && version() / 100 == NV_TENSORRT_VERSION / 100;
}

nvinfer1::ILogger* find_logger() {
  Finder* const finder = logger_finder;
  // Where no engine called, there may be none to find.
  nvinfer1::ILogger* const found = finder == nullptr ? nullptr : finder->findLogger();
  const GetLogger common = get_logger;
  return found != nullptr || common == nullptr ? found : common();
}

}  // namespace

void set_logger_finder(Finder* finder) {
  void* const library = finder == nullptr ? nullptr : library_of(finder);
  const bool is_ours = library != nullptr && has_our_loggers(library);
  logger_finder = is_ours ? finder : nullptr;
  get_logger = is_ours ? reinterpret_cast<GetLogger>(dlsym(library, "getLogger")) : nullptr;
  if (library != nullptr) dlclose(library);
}

void log_error(const char* op, const char* what) noexcept {
  char line[1024];
  std::snprintf(line, sizeof line, "deltaport: %s: %s", op, what);
  if (nvinfer1::ILogger* logger = find_logger()) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, line);
  } else {
    std::fprintf(stderr, "%s\n", line);
  }
}

}  // namespace deltaport::tensorrt
