// Pages that several places of memory read from one copy, each until it writes there.
#pragma once

#include <cstddef>
#include <memory>

namespace deltaport {

// A file in memory. What maps it keeps its pages, whether or not the object is still there.
class SharedPages {
 public:
  // `bytes` of zeros, in whole pages. Null where the system has no such memory, or none left.
  static std::shared_ptr<SharedPages> make(size_t bytes);
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  // Puts bytes at `at`, before anything maps them. False where memory runs out.
  bool write(size_t at, const std::byte* from, size_t bytes);
  // Gets bytes back. False where that cannot be.
  bool read(size_t at, std::byte* to, size_t bytes) const;
  // Maps whole pages from `at` on over those of a region: a page that is written there becomes the
  // region's own. False where the system cannot: the region is as it was, or reads as zero.
  bool map(size_t at, std::byte* to, size_t bytes) const;

 private:
  explicit SharedPages(int file) : file_(file) {}

  int file_;
};

}  // namespace deltaport
