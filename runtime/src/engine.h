// An opened engine: immutable, shared by any number of sessions, safe from several threads.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "decoder.h"
#include "manifest.h"

namespace deltaport {

// The newest version of the custom ops that this runtime knows.
constexpr int64_t kOpLibraryVersion = 1;

class Engine {
 public:
  // Opens the engine in `folder`; `checksums`: read every file once and compare it with the manifest.
  // Throws EngineError.
  static std::shared_ptr<Engine> open(const std::filesystem::path& folder, bool checksums,
                                      const DecoderOptions& options);
  // From a manifest that was checked and a graph that may be changed. `taps`: further outputs of the
  // graph, for a StepObserver.
  Engine(std::string name, Manifest manifest, const DecoderSource& source,
         const DecoderOptions& options, std::vector<std::string> taps = {});

  const std::string& name() const { return name_; }  // the folder, for errors
  const Manifest& manifest() const { return manifest_; }
  const Decoder& decoder() const { return *decoder_; }
  const std::vector<std::string>& taps() const { return taps_; }
  // Tokens that a sequence may have.
  int64_t longest_context() const;

 private:
  std::string name_;
  Manifest manifest_;
  std::vector<std::string> taps_;
  std::unique_ptr<const Decoder> decoder_;
};

}  // namespace deltaport
