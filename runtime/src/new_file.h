// A file that is written whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace deltaport {

// Lies beside the one that it is to become, for its owner alone to read, and is gone unless it was
// put in its place. Every member throws OutputError naming the file to be.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& target);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(const void* data, size_t size);
  void put_in_place();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path target_;
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace deltaport
