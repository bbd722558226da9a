// What the runtime needs of an engine folder's manifest.json, which is untrusted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "state_layout.h"

namespace deltaport {

// What TensorRT made of the graph: decode steps of up to `slots` rows, prefill steps of up to
// `prefill_tokens` tokens of one, on caches of `capacity` columns.
struct PlanFacts {
  std::string file;     // relative to the folder and inside it
  std::string builder;  // "TensorRT 11.4.0" or "TensorRT-RTX 1.7.1.116"
  std::string gpu;      // "sm89", or "this": that of the machine it was built on
  int64_t slots;
  int64_t prefill_tokens;
  int64_t capacity;
};

struct Manifest {
  std::string target;
  bool ragged;          // rows of a step may have any number of tokens each
  std::string decoder;  // graph file, relative to the folder and inside it
  int64_t vocab_size;
  int64_t max_positions;
  std::vector<int64_t> eos_token_ids;
  int64_t op_library_version;
  StateLayout state;
  std::optional<PlanFacts> plan;
  std::string identity;  // SHA-256 of the manifest file in hex: equal for engines of the same files
};

// Reads and checks the manifest and every file that it lists: there, regular, inside the folder, of
// the size it says and, with `checksums`, of the SHA-256 it says. Throws EngineError naming the file.
Manifest open_manifest(const std::filesystem::path& folder, bool checksums);

}  // namespace deltaport
