// The files of an engine folder, none of which is trusted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace deltaport {

constexpr char kManifestName[] = "manifest.json";

// A file as the manifest lists it.
struct FileEntry {
  std::string path;  // relative to the folder, inside it, printable
  int64_t size;
  std::string sha256;
};

// The bytes of the folder's manifest. Throws EngineError.
std::string read_manifest(const std::filesystem::path& folder);

// Throws EngineError unless the file is there as listed; `checksum`: compare that too.
void check_file(const std::filesystem::path& folder, const FileEntry& entry, bool checksum);

}  // namespace deltaport
