// A decoder that TensorRT has made a plan of, on a GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decoder.h"
#include "device_library.h"

namespace deltaport {

// The plan's profiles, in order: what steps it has.
enum PlanProfile : int32_t {
  kDecodeProfile,   // a token of each of some rows
  kPrefillProfile,  // tokens of one row
  kProfileCount,
};

class PlanDecoder final : public Decoder {
 public:
  // Throws EngineError for an engine without a plan, or a plan that does not run here or is another
  // than the manifest says.
  PlanDecoder(const DecoderSource& source, const Manifest& manifest, const DecoderOptions& options);

  const std::string& file() const override { return file_; }
  std::vector<Port> inputs() const override { return ports(true); }
  std::vector<Port> outputs() const override { return ports(false); }
  StepTraits traits() const override;
  SessionParts start(const Engine& engine, int64_t slots, int64_t capacity) const override;

 private:
  std::vector<Port> ports(bool inputs) const;
  void check_profiles() const;
  void check_state(const Manifest& manifest) const;

  const device::Api& api_;
  const PlanFacts facts_;
  const std::string file_;
  std::unique_ptr<device::Plan, void (*)(device::Plan*)> plan_;
};

// Whether engines for `target` are run as plans of TensorRT.
bool runs_plans(const std::string& target);

}  // namespace deltaport
