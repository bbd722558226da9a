#include "virtual_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

namespace deltaport {

namespace {

#if defined(__linux__)
using ResidentFlag = unsigned char;
#else
using ResidentFlag = char;
#endif

// Without MAP_NORESERVE a system may count reserved pages as if they were used.
void* map_pages(void* where, size_t bytes, int flags, int file = -1, size_t at = 0) {
  if (file < 0) flags |= MAP_ANONYMOUS;
  return mmap(where, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | flags, file,
              static_cast<off_t>(at));
}

// The system may have unmapped pages before it failed to put others there. A hole would let a later
// step crash.
void fill_hole(std::byte* begin, size_t bytes) {
  const bool hole = msync(begin, bytes, MS_ASYNC) != 0 && errno == ENOMEM;
  if (hole && map_pages(begin, bytes, MAP_FIXED) == MAP_FAILED) std::abort();
}

bool give_back(std::byte* begin, size_t bytes) {
#if defined(__linux__)
  return madvise(begin, bytes, MADV_DONTNEED) == 0;
#else
  // Elsewhere that advice may leave the contents; pages mapped anew are zero everywhere.
  return map_pages(begin, bytes, MAP_FIXED) != MAP_FAILED;
#endif
}

// The whole pages inside a range; begin == end where there are none.
struct WholePages {
  std::byte* begin;
  std::byte* end;

  WholePages(std::byte* from, size_t bytes) {
    const size_t page = page_size();
    const size_t before = (page - reinterpret_cast<uintptr_t>(from) % page) % page;
    begin = from + std::min(before, bytes);
    end = begin + (bytes - std::min(before, bytes)) / page * page;
  }
  size_t size() const { return static_cast<size_t>(end - begin); }
};

}  // namespace

size_t page_size() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

size_t whole_pages(size_t bytes) {
  const size_t page = page_size();
  return (bytes + page - 1) / page * page;
}

VirtualRegion::VirtualRegion(size_t bytes) {
  // Never empty, so that a tensor without elements has an address too.
  size_ = whole_pages(std::max<size_t>(bytes, 1));
  void* const found = map_pages(nullptr, size_, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(found);
}

VirtualRegion::~VirtualRegion() {
  if (data_ != nullptr) munmap(data_, size_);
}

VirtualRegion::VirtualRegion(VirtualRegion&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

VirtualRegion& VirtualRegion::operator=(VirtualRegion&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

size_t VirtualRegion::resident_bytes() const {
  // A flag a page: in pieces, because regions are mostly reserved and hardly ever all in use.
  constexpr size_t kPages = 1 << 16;
  const size_t page = page_size();
  std::vector<ResidentFlag> flags(std::min(kPages, size_ / page));
  size_t resident = 0;
  for (size_t at = 0; at < size_; at += kPages * page) {
    const size_t bytes = std::min(kPages * page, size_ - at);
    if (mincore(data_ + at, bytes, flags.data()) != 0) continue;
    const auto end = flags.begin() + static_cast<ptrdiff_t>(bytes / page);
    resident += static_cast<size_t>(
        std::count_if(flags.begin(), end, [](ResidentFlag flag) { return (flag & 1) != 0; }));
  }
  return resident * page;
}

void discard_pages(std::byte* begin, size_t bytes) {
  const WholePages pages(begin, bytes);
  if (pages.size() != 0) give_back(pages.begin, pages.size());
}

void zero(std::byte* begin, size_t bytes) {
  const WholePages pages(begin, bytes);
  // Pages that are locked in memory cannot be given back.
  if (pages.size() != 0 && !give_back(pages.begin, pages.size())) {
    std::memset(pages.begin, 0, pages.size());
  }
  std::memset(begin, 0, static_cast<size_t>(pages.begin - begin));
  std::memset(pages.end, 0, static_cast<size_t>(begin + bytes - pages.end));
}

bool map_over(std::byte* to, size_t bytes, int file, size_t at) {
  if (map_pages(to, bytes, MAP_FIXED, file, at) != MAP_FAILED) return true;
  fill_hole(to, bytes);
  return false;
}

bool move_pages([[maybe_unused]] std::byte* from, [[maybe_unused]] std::byte* to,
                [[maybe_unused]] size_t bytes) {
#if defined(MREMAP_DONTUNMAP)
  const int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (mremap(from, bytes, bytes, flags, to) != MAP_FAILED) return true;
  fill_hole(to, bytes);
#endif
  return false;
}

}  // namespace deltaport
