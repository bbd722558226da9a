// Memory as the operating system gives it out: reserved at once, committed by pages when touched.
#pragma once

#include <cstddef>

namespace deltaport {

size_t page_size();
// `bytes`, rounded up to whole pages.
size_t whole_pages(size_t bytes);

// Reserved pages. None is committed before it is touched, and all read as zero.
class VirtualRegion {
 public:
  VirtualRegion() = default;
  // At least `bytes` from a page's start on. Throws std::bad_alloc.
  explicit VirtualRegion(size_t bytes);
  ~VirtualRegion();
  VirtualRegion(VirtualRegion&& other) noexcept;
  VirtualRegion& operator=(VirtualRegion&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Bytes of pages that are in memory now.
  size_t resident_bytes() const;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The functions below take parts of a region.

// Gives the pages that lie wholly inside back to the system: they read as zero again. What shares a
// page with a neighbour stays as it is.
void discard_pages(std::byte* begin, size_t bytes);
// Makes all of it zero, giving pages back where it can.
void zero(std::byte* begin, size_t bytes);

// Maps pages over others, from `at` on of a file, written pages becoming the region's own; or, where
// `file` is negative, pages that read as zero. False where the system cannot: all is as it was, or, if
// it failed after it had begun, reads as zero.
bool map_over(std::byte* to, size_t bytes, int file = -1, size_t at = 0);

// Moves whole pages over others; where they came from reads as zero then. False where the system
// cannot: `from` is as it was then, and what is in `to` is unspecified.
//
// The system keeps a record of its own for each range moved, and moves only what is in one record.
// So a region must always be moved in the same ranges, and not in too many.
bool move_pages(std::byte* from, std::byte* to, size_t bytes);

}  // namespace deltaport
