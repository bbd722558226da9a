#include "shared_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>
#include <utility>

#include "virtual_memory.h"

namespace deltaport {

namespace {

// Each holds a file descriptor, of which a process may by default have 1024, and most are the host's.
constexpr int kMostFiles = 128;
std::atomic<int> files{0};

#if defined(__linux__)
// A file of `bytes` in memory, or -1.
int file_in_memory(size_t bytes) {
  rlimit limit{};  // beyond it the system ends the process
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || bytes > limit.rlim_cur) return -1;
  const int file = memfd_create("deltaport-state", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) == 0) return file;
  close(file);
  return -1;
}
#else
int file_in_memory(size_t) { return -1; }
#endif

}  // namespace

std::shared_ptr<SharedPages> SharedPages::make(size_t bytes) {
  if (++files > kMostFiles) {
    --files;
    return nullptr;
  }
  const int file = file_in_memory(bytes);
  if (file < 0) {
    --files;
    return nullptr;
  }
  std::unique_ptr<SharedPages> made(new (std::nothrow) SharedPages(file));
  if (made == nullptr) {
    close(file);
    --files;
    return nullptr;
  }
  try {
    return std::shared_ptr<SharedPages>(std::move(made));
  } catch (const std::bad_alloc&) {  // which leaves it where it was made, to be closed
    return nullptr;
  }
}

SharedPages::~SharedPages() {
  close(file_);
  --files;
}

bool SharedPages::write(size_t at, const std::byte* from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t done = pwrite(file_, from, bytes, static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    from += done;
    at += static_cast<size_t>(done);
    bytes -= static_cast<size_t>(done);
  }
  return true;
}

bool SharedPages::read(size_t at, std::byte* to, size_t bytes) const {
  while (bytes > 0) {
    const ssize_t done = pread(file_, to, bytes, static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    to += done;
    at += static_cast<size_t>(done);
    bytes -= static_cast<size_t>(done);
  }
  return true;
}

bool SharedPages::map(size_t at, std::byte* to, size_t bytes) const {
  return map_over(to, bytes, file_, at);
}

}  // namespace deltaport
