// The files of an engine folder, none of which is trusted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace deltaport {

constexpr char kManifestName[] = "manifest.json";

// A file as the manifest lists it.
struct FileEntry {
  std::string path;  // relative to the folder, inside it, printable
  int64_t size;
  std::string sha256;  // that of file_digest.h
};

// The bytes of the folder's manifest. Throws EngineError.
std::string read_manifest(const std::filesystem::path& folder);

// Throws EngineError unless every file is there as listed; `checksums`: compares them, too.
void check_files(const std::filesystem::path& folder, std::span<const FileEntry> files,
                 bool checksums);

}  // namespace deltaport
