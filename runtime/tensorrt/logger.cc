#include "logger.h"

#include <string_view>

namespace deltaport::device {

namespace {

thread_local std::string first_error;

}  // namespace

Logger& Logger::get() {
  static Logger& logger = *new Logger;
  return logger;
}

void Logger::log(Severity severity, const char* message) noexcept {
  if (severity > Severity::kERROR || !first_error.empty()) return;
  first_error.assign(message, 0, std::string_view(message).find('\n'));
}

void Logger::begin() { first_error.clear(); }

std::string Logger::found(const char* otherwise) const {
  return first_error.empty() ? otherwise : first_error;
}

}  // namespace deltaport::device
