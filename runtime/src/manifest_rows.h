// What a manifest says of its state tensors, its files and its plan. All throw EngineError.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "manifest.h"
#include "package_files.h"
#include "state_layout.h"

namespace deltaport {

// A member that an object must have.
struct Field {
  const char* name;
  Json::Type type;
  bool may_be_null = false;
};

// Whether `value` is an object of these members and no others, of any types.
bool has_exactly(const Json& value, std::span<const Field> fields);

// Their names, as an error lists them.
std::string names_of(std::span<const Field> fields);

// The member, which is there.
const Json& get(const JsonObject& object, std::string_view name);

// Whether ASCII that prints. Python's reader takes the rest of Unicode too; no engine has any.
bool is_printable(std::string_view text);

// `source` names the manifest in errors.
StateLayout read_state(const JsonArray& rows, const std::string& source);
std::vector<FileEntry> read_files(const JsonArray& rows, const std::string& source);
// None for null.
std::optional<PlanFacts> read_plan(const Json& value, const std::string& source);

}  // namespace deltaport
