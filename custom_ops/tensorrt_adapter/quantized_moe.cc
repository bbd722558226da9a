// QuantizedMoE, and QuantizedSharedExpertMoE: mixtures whose experts are codes, read as they are
// stored for kernels of CPUs. Unlike those the plugins do not round activations to int8: a code is
// made a float32 weight, which is multiplied with activations as they are.
#include <stdexcept>
#include <string>

#include "tensorrt_adapter/mixture.h"

namespace deltaport::tensorrt {

namespace {

namespace kernels = DELTAPORT_ISA;

constexpr Attribute kInner = count_of("inner"), kSharedInner = count_of("shared_inner");

// A matrix, or one for each expert: its two ports, and what its sizes are called in their shapes.
struct Stored {
  Port codes, scales;
  const char *tiles, *groups, *blocks, *bits, *numbers;
};
constexpr Stored kGateUp{{"gate_up", Type::kInt8, "E,2*It,Kg,bits,64"},
                         {"gate_up_scales", Type::kBFloat16, "E,2*It,Kb,S,16"},
                         "It", "Kg", "Kb", "bits", "S"};
constexpr Stored kDown{{"down", Type::kInt8, "E,Ht,Ig,dbits,64"},
                       {"down_scales", Type::kBFloat16, "E,Ht,Ib,dS,16"},
                       "Ht", "Ig", "Ib", "dbits", "dS"};
constexpr Stored kSharedGateUp{{"shared_gate_up", Type::kInt8, "2*st,sKg,sbits,64"},
                               {"shared_gate_up_scales", Type::kBFloat16, "2*st,sKb,sS,16"},
                               "st", "sKg", "sKb", "sbits", "sS"};
constexpr Stored kSharedDown{{"shared_down", Type::kInt8, "Ht,sg,sdbits,64"},
                             {"shared_down_scales", Type::kBFloat16, "Ht,sb,sdS,16"},
                             "Ht", "sg", "sb", "sdbits", "sdS"};

int64_t ceil_div(int64_t n, int64_t of) { return (n + of - 1) / of; }

[[noreturn]] void fail(const Stored& stored, const std::string& has, int64_t size) {
  throw std::invalid_argument(std::string(stored.codes.name) + " has " + has +
                              ", which does not fit a width of " + std::to_string(size));
}

// Throws std::invalid_argument unless this is a stored matrix of `rows` rows, or twice as many in
// two halves, of `inputs` inputs. Sizes of 0 are not known yet.
void check_stored(const Sizes& sizes, const Stored& stored, int64_t rows, int64_t inputs) {
  const int64_t bits = sizes[stored.bits], tiles = sizes[stored.tiles];
  const int64_t groups = sizes[stored.groups], blocks = sizes[stored.blocks];
  if (bits != 0 && bits != 4 && bits != 8) {
    throw std::invalid_argument(std::string(stored.bits) + " is " + std::to_string(bits) +
                                ", but the kernel takes 4 or 8");
  }
  sizes.require(stored.numbers, 1, 2);
  if (tiles > 0 && rows > 0 && tiles != ceil_div(rows, kTileOutputs)) {
    fail(stored, std::to_string(tiles) + " tiles of 16 rows", rows);
  }
  if (groups == 0 || blocks == 0 || inputs == 0) return;
  if (groups % blocks != 0 || blocks != ceil_div(inputs, groups / blocks * kGroupInputs)) {
    fail(stored, std::to_string(groups) + " groups of 32 inputs in " + std::to_string(blocks) +
                     " blocks", inputs);
  }
}

void check(const Sizes& sizes, const Attributes& attributes) {
  check_experts(sizes, attributes);
  const int64_t hidden = sizes["H"], inner = attributes.whole("inner");
  check_stored(sizes, kGateUp, inner, hidden);
  check_stored(sizes, kDown, hidden, inner);
}

void check_shared(const Sizes& sizes, const Attributes& attributes) {
  check(sizes, attributes);
  const int64_t hidden = sizes["H"], inner = attributes.whole("shared_inner");
  check_stored(sizes, kSharedGateUp, inner, hidden);
  check_stored(sizes, kSharedDown, hidden, inner);
}

size_t bytes(const Sizes& most, const Attributes& attributes, int64_t shared_inner) {
  const auto shape = mixture_shape(most, attributes, attributes.whole("inner"), shared_inner);
  return static_cast<size_t>(kernels::moe_workspace_bytes(shape));
}

QuantizedWeights read_codes(const Call& call, const Stored& stored) {
  const int64_t groups = call.sizes[stored.groups];
  return {.codes = call.input<uint8_t>(stored.codes.name),
          .scales = call.input<BFloat16>(stored.scales.name),
          .bits = static_cast<int>(call.sizes[stored.bits]),
          .has_offsets = call.sizes[stored.numbers] == 2,
          .groups = groups,
          .block_groups = groups / call.sizes[stored.blocks]};
}

// All but the shared expert.
kernels::MoEArgs read_mixture(const Call& call, int64_t shared_inner) {
  kernels::MoEArgs args = read_tokens(call, call.attributes.whole("inner"), shared_inner);
  args.gate_up.codes = read_codes(call, kGateUp);
  args.down.codes = read_codes(call, kDown);
  return args;
}

cudaError_t launch(const Call& call) {
  return kernels::run_sparse_moe(read_mixture(call, 0), call.workspace, call.stream);
}

cudaError_t launch_shared(const Call& call) {
  kernels::MoEArgs args = read_mixture(call, call.attributes.whole("shared_inner"));
  args.shared_gate = activations_of(call, "shared_gate");
  args.shared_gate_up.codes = read_codes(call, kSharedGateUp);
  args.shared_down.codes = read_codes(call, kSharedDown);
  return kernels::run_sparse_moe(args, call.workspace, call.stream);
}

}  // namespace

OpDescription describe_quantized_moe() {
  return {.name = "QuantizedMoE",
          .inputs = {kX, kRouterLogits, kGateUp.codes, kGateUp.scales, kDown.codes, kDown.scales,
                     kLengths},
          .outputs = {kY},
          .attributes = {kTopK, kInner},
          .check = check,
          .launch = launch,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes(most, attributes, 0);
          }};
}

OpDescription describe_quantized_shared_expert_moe() {
  return {.name = "QuantizedSharedExpertMoE",
          .inputs = {kX, kRouterLogits, kGateUp.codes, kGateUp.scales, kDown.codes, kDown.scales,
                     kSharedGate, kSharedGateUp.codes, kSharedGateUp.scales, kSharedDown.codes,
                     kSharedDown.scales, kLengths},
          .outputs = {kY},
          .attributes = {kTopK, kInner, kSharedInner},
          .check = check_shared,
          .launch = launch_shared,
          .workspace = [](const Sizes& most, const Attributes& attributes) {
            return bytes(most, attributes, attributes.whole("shared_inner"));
          }};
}

}  // namespace deltaport::tensorrt
