#include "engine.h"

#include <algorithm>
#include <cstdint>

#include "errors.h"

namespace deltaport {

namespace {

Manifest supported(Manifest manifest, const std::string& name) {
  if (manifest.op_library_version > kOpLibraryVersion) {
    throw EngineError(name + ": made with op library " +
                      std::to_string(manifest.op_library_version) + ", this deltaport has " +
                      std::to_string(kOpLibraryVersion) +
                      "; upgrade deltaport or export the engine again");
  }
  return manifest;
}

}  // namespace

std::shared_ptr<Engine> Engine::open(const std::filesystem::path& folder, bool checksums,
                                     const DecoderOptions& options) {
  Manifest manifest = open_manifest(folder, checksums);
  const DecoderSource source{folder / manifest.decoder, {}, folder};
  return std::make_shared<Engine>(folder.string(), std::move(manifest), source, options);
}

Engine::Engine(std::string name, Manifest manifest, const DecoderSource& source,
               const DecoderOptions& options, std::vector<std::string> taps)
    : name_(std::move(name)),
      manifest_(supported(std::move(manifest), name_)),
      taps_(std::move(taps)),
      decoder_(open_decoder(source, manifest_, options)) {
  check_interface(*decoder_, manifest_, taps_);
}

int64_t Engine::longest_context() const {
  return std::min(manifest_.max_positions, decoder_->traits().capacity.value_or(INT64_MAX));
}

}  // namespace deltaport
