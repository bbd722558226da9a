#include "decoder.h"

#include "onnx_decoder.h"
#include "plan_decoder.h"

namespace deltaport {

std::unique_ptr<const Decoder> open_decoder(const DecoderSource& source, const Manifest& manifest,
                                            const DecoderOptions& options) {
  if (runs_plans(manifest.target)) {
    return std::make_unique<PlanDecoder>(source, manifest, options);
  }
  return std::make_unique<OnnxDecoder>(OnnxRuntime::load(options.onnxruntime), source, manifest,
                                       options);
}

}  // namespace deltaport
