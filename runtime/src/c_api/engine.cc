// Engines in the C layer.

#include "engine.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "c_api/handles.h"

namespace {

using namespace deltaport;
using namespace deltaport::c_api;

constexpr deltaport_engine_options kDefaults = {
    sizeof(deltaport_engine_options), nullptr, nullptr, nullptr, nullptr, 0,
    DELTAPORT_DEVICE_AUTO, 1, 0};

// More never pays, and thousands take the machine down.
constexpr unsigned kAlwaysAllowedThreads = 64;

// The directory this library was loaded from.
std::filesystem::path own_directory() {
  Dl_info info;
  if (dladdr(&kDefaults, &info) == 0 || info.dli_fname == nullptr) return {};
  return std::filesystem::path(info.dli_fname).parent_path();
}

std::string named(const char* given, const char* variable, const std::string& otherwise) {
  if (given != nullptr) return given;
  const char* const found = std::getenv(variable);
  return found != nullptr ? found : otherwise;
}

std::optional<Device> device_of(int32_t device) {
  switch (device) {
    case DELTAPORT_DEVICE_AUTO: return {};
    case DELTAPORT_DEVICE_CPU: return Device::cpu;
    case DELTAPORT_DEVICE_CUDA: return Device::cuda;
  }
  throw InputError("device is " + std::to_string(device) + ", expected a deltaport_device");
}

DecoderOptions decoder_options(const deltaport_engine_options& given) {
  const int32_t most = std::max(kAlwaysAllowedThreads, std::thread::hardware_concurrency());
  if (given.threads < 0 || given.threads > most) {
    throw InputError("threads is " + std::to_string(given.threads) +
                     ", expected an integer, 0 to " + std::to_string(most));
  }
  const std::filesystem::path beside = own_directory();
  return {named(given.onnxruntime, "DELTAPORT_ONNXRUNTIME", DecoderOptions().onnxruntime),
          named(given.kernels, "DELTAPORT_KERNELS", beside / "ort_kernels.so"),
          named(given.tensorrt, "DELTAPORT_TENSORRT", ""),
          named(given.plugins, "DELTAPORT_TENSORRT_PLUGINS", beside / "libdeltaport_tensorrt.so"),
          given.threads,
          device_of(given.device)};
}

const Manifest& manifest_of(const deltaport_engine* engine) {
  return need(engine, "engine").engine->manifest();
}

}  // namespace

extern "C" {

deltaport_status deltaport_engine_options_init(deltaport_engine_options* options,
                                               size_t struct_size) {
  return guarded([&] {
    need(options, "options");
    check_size<deltaport_engine_options>(struct_size, "options");
    *options = kDefaults;
  });
}

deltaport_status deltaport_engine_open(const char* folder, const deltaport_engine_options* options,
                                       deltaport_engine** engine) {
  return guarded([&] {
    need(folder, "folder");
    deltaport_engine*& made = need(engine, "engine");
    const deltaport_engine_options& given = options != nullptr ? *options : kDefaults;
    check_size<deltaport_engine_options>(given.struct_size, "options");
    made = new deltaport_engine{Engine::open(folder, given.checksums != 0, decoder_options(given))};
  });
}

deltaport_status deltaport_engine_close(deltaport_engine* engine) {
  return guarded([&] { delete &need(engine, "engine"); });
}

deltaport_status deltaport_engine_vocab_size(const deltaport_engine* engine, int64_t* vocab_size) {
  return guarded([&] { need(vocab_size, "vocab_size") = manifest_of(engine).vocab_size; });
}

deltaport_status deltaport_engine_max_positions(const deltaport_engine* engine,
                                                int64_t* max_positions) {
  return guarded([&] {
    need(max_positions, "max_positions") = need(engine, "engine").engine->longest_context();
  });
}

deltaport_status deltaport_engine_eos_token_ids(const deltaport_engine* engine, int64_t* ids,
                                                size_t capacity, size_t* count) {
  return guarded([&] { copy_ids(manifest_of(engine).eos_token_ids, ids, capacity, count); });
}

}  // extern "C"
