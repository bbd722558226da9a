#include "new_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>  // mkstemp
#include <system_error>
#include <utility>

#include "errors.h"

namespace deltaport {

NewFile::NewFile(const std::filesystem::path& target)
    : target_(target), path_((target.parent_path() / ("." + target.filename().string())).string()) {
  path_ += ".XXXXXX";
  descriptor_ = ::mkstemp(path_.data());
  if (descriptor_ < 0) fail();
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!path_.empty()) ::unlink(path_.c_str());
}

void NewFile::write(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail();
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void NewFile::put_in_place() {
  if (::fsync(descriptor_) != 0) fail();
  if (::close(std::exchange(descriptor_, -1)) != 0) fail();
  if (::rename(path_.c_str(), target_.c_str()) != 0) fail();
  path_.clear();
}

void NewFile::fail() const {
  throw OutputError(target_.string() +
                    ": cannot be written: " + std::generic_category().message(errno));
}

}  // namespace deltaport
