// UTF-8, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace deltaport {

// Bytes of `text` before the first that is not UTF-8: no overlong forms, no surrogates.
size_t valid_utf8_prefix(std::string_view text);

void append_utf8(std::string& text, uint32_t code);

inline bool starts_character(char byte) { return (static_cast<unsigned char>(byte) >> 6) != 2; }

}  // namespace deltaport
