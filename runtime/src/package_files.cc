#include "package_files.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#include "errors.h"
#include "file_digest.h"

namespace deltaport {

namespace fs = std::filesystem;

namespace {

// Far above any real manifest, far below what would hurt to parse.
constexpr size_t kManifestLimit = size_t{64} << 20;

[[noreturn]] void fail(const fs::path& path, const std::string& problem) {
  throw EngineError(path.string() + ": " + problem);
}

[[noreturn]] void fail_with_errno(const fs::path& path) {
  fail(path, std::generic_category().message(errno));
}

// Fails for anything but a regular file: reading a pipe or a device may never end.
uintmax_t regular_size(const fs::path& path, const fs::path& name) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error) fail(name, error.message());
  if (!fs::is_regular_file(status)) fail(name, "not a regular file; export the engine again");
  const uintmax_t size = fs::file_size(path, error);
  if (error) fail(name, error.message());
  return size;
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

// The real path of a file that is there as listed.
fs::path check_file(const fs::path& folder, const FileEntry& entry) {
  const fs::path name = folder / entry.path;
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) fail(folder, error.message());
  // Opened by its real path, which is the one that was found to be inside.
  const fs::path path = fs::canonical(name, error);
  if (error == std::errc::no_such_file_or_directory) {
    fail(name, "missing from the engine; copy the whole folder or export it again");
  }
  if (error) fail(name, error.message());
  if (!is_inside(path, root)) {
    fail(name, "a link that leaves the engine folder; refusing to open it");
  }
  const uintmax_t size = regular_size(path, name);
  if (size != static_cast<uintmax_t>(entry.size)) {
    fail(name, "has " + std::to_string(size) + " bytes, the manifest says " +
                   std::to_string(entry.size) +
                   "; the engine was cut short or altered, export it again");
  }
  return path;
}

}  // namespace

std::string read_manifest(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    fail(folder, "no such engine folder; make one with: deltaport export");
  }
  const fs::path path = folder / kManifestName;
  if (fs::status(path, error).type() == fs::file_type::not_found) {
    fail(folder, std::string("has no ") + kManifestName +
                     ", so it is not an engine; make one with: deltaport export");
  }
  const uintmax_t size = regular_size(path, path);
  if (size > kManifestLimit) {
    fail(path, "larger than " + std::to_string(kManifestLimit >> 20) + " MiB, not a manifest");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) fail_with_errno(path);
  std::string text(size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (file.bad()) fail_with_errno(path);
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

void check_files(const fs::path& folder, std::span<const FileEntry> files, bool checksums) {
  std::vector<fs::path> paths;
  for (const FileEntry& entry : files) paths.push_back(check_file(folder, entry));
  for (size_t i = 0; checksums && i < files.size(); ++i) {
    const fs::path name = folder / files[i].path;
    std::string digest;
    try {
      digest = file_digest(paths[i]);
    } catch (const std::system_error& error) {
      fail(name, error.code().message());
    }
    if (digest != files[i].sha256) {
      fail(name,
           "checksum differs from the manifest's; the file was altered, export the engine again");
    }
  }
}

}  // namespace deltaport
