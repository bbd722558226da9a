// Reading JSON (RFC 8259) that came from somebody else: strict, and bounded in depth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace deltaport {

struct JsonMember;
using JsonArray = std::vector<struct Json>;
using JsonObject = std::vector<JsonMember>;  // sorted by name, each once

struct Json {
  // In the order of the alternatives of `value`.
  enum class Type { null, boolean, integer, real, text, array, object };

  // An integer that int64 does not hold is the nearest double.
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, JsonArray, JsonObject> value;

  Type type() const { return static_cast<Type>(value.index()); }
  template <typename T>
  const T& as() const {
    return std::get<T>(value);
  }
};

struct JsonMember {
  std::string name;
  Json value;
};

// What is wrong with the JSON: continues a sentence that begins with the file's name.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The document in `text`, which is UTF-8. Refuses what common readers let pass: a byte order mark,
// repeated keys, half a surrogate pair, numbers beyond double, more than 64 levels.
Json parse_json(std::string_view text);

// Null where the object has no such member.
const Json* find(const JsonObject& object, std::string_view name);

// Untrusted values for an error: as Python shows them, one line of ASCII, cut off at `limit`.
std::string quote(const Json& value, size_t limit);
std::string quote(std::string_view text, size_t limit);

// What Python calls the type.
const char* name_of(Json::Type type);

}  // namespace deltaport
