// The header of a snapshot's file: what safetensors (huggingface/safetensors, its format) says of
// the tensors behind it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sha256.h"

namespace deltaport {

// A tensor of the file; its bytes are [begin, end) of what follows the header.
struct FileTensor {
  std::string dtype;  // as safetensors calls it
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;

  bool operator==(const FileTensor&) const = default;
};

struct SnapshotHeader {
  std::map<std::string, std::string> metadata;
  std::map<std::string, FileTensor> tensors;

  // As it stands in a file, behind its length.
  std::string text() const;
  // Begins the checksum of the file, with everything of `metadata` but the checksum itself.
  Sha256 checksum() const;
};

constexpr char kChecksum[] = "sha256";  // in the metadata

// Goes on with the checksum by a tensor, but for its bytes.
void add_to_checksum(Sha256& checksum, const std::string& name, const FileTensor& tensor);

// Reads what another program may have written. Throws std::runtime_error saying what is wrong:
// continues a sentence that begins with the file's name.
SnapshotHeader parse_snapshot_header(std::string_view text);

// "float32 [1, 5, 1]", for errors.
std::string shown(const FileTensor& tensor);

}  // namespace deltaport
