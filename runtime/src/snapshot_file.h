// Snapshots as files: safetensors, with whose they are and a checksum in the header.
//
// The file holds `tokens` (I64 [n]), `logits` (F32 [V]) where there are any, and a tensor
// `state.NAME` for every input NAME of the graph that is state. The header's metadata has `format`,
// `engine` (the identity of the engine it belongs to), `length` (tokens that the state has seen) and
// `sha256`: of every other item of the metadata, by name, as "name=value\n", and then of every tensor,
// by name, "name dtype d0,d1\n" and its bytes.
#pragma once

#include <filesystem>

#include "manifest.h"
#include "snapshot.h"

namespace deltaport {

// Writes `snapshot` to `path`: all of it, or OutputError and what was there stays.
void save_snapshot(const Snapshot& snapshot, const std::filesystem::path& path);

// Throws InputError naming the file for one that is not there, is damaged, or belongs to another
// engine than that of `manifest`. The file is not trusted.
Snapshot load_snapshot(const std::filesystem::path& path, const Manifest& manifest);

}  // namespace deltaport
