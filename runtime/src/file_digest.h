// The checksum of an engine's file, which all cores compute together.
#pragma once

#include <filesystem>
#include <string>

namespace deltaport {

// Of a file of at most 16 MiB its SHA-256 in hex; of a larger one the SHA-256 of the digests (32 bytes
// each) of its pieces of 16 MiB, of which the last may be shorter. Throws std::system_error where it
// cannot be read.
std::string file_digest(const std::filesystem::path& path);

}  // namespace deltaport
