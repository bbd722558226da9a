// The checksum of an engine's file, which all cores compute together.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace deltaport {

// Of a file of at most 16 MiB its SHA-256; of a larger one the SHA-256 of the digests (32 bytes each)
// of its pieces of 16 MiB, of which the last may be shorter.
struct FileDigest {
  std::string hex;
  int error = 0;  // an errno: why the file could not be read
};

std::vector<FileDigest> file_digests(std::span<const std::filesystem::path> paths);

}  // namespace deltaport
