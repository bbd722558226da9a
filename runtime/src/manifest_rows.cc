#include "manifest_rows.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "errors.h"

namespace deltaport {

namespace {

using Type = Json::Type;

constexpr Field kFileFields[] = {
    {"path", Type::text}, {"size", Type::integer}, {"sha256", Type::text}};
constexpr Field kPlanFields[] = {
    {"file", Type::text},     {"builder", Type::text},           {"gpu", Type::text},
    {"slots", Type::integer}, {"prefill_tokens", Type::integer}, {"capacity", Type::integer}};

// Whether a path stays in its folder on every platform.
bool stays_inside(std::string_view path) {
  if (!is_printable(path) || path.find_first_of("\\:") != path.npos) return false;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return true;
}

FileEntry read_file(const Json& value, const std::string& where) {
  if (!has_exactly(value, kFileFields)) {
    throw EngineError(where + ": expected the fields " + names_of(kFileFields));
  }
  const auto& row = value.as<JsonObject>();
  const Json& path = get(row, "path");
  if (path.type() != Type::text || !stays_inside(path.as<std::string>())) {
    throw EngineError(where + ": path " + quote(path, 80) +
                      " leaves the engine folder; refusing to open it");
  }
  const Json& size = get(row, "size");
  if (size.type() != Type::integer || size.as<int64_t>() < 0) {
    throw EngineError(where + ": size is " + quote(size, 40) + ", expected bytes");
  }
  const Json& digest = get(row, "sha256");
  const std::string* hex = std::get_if<std::string>(&digest.value);
  if (hex == nullptr || hex->size() != 64 ||
      hex->find_first_not_of("0123456789abcdef") != hex->npos) {
    throw EngineError(where + ": sha256 is " + quote(digest, 80) +
                      ", expected 64 hexadecimal digits");
  }
  return {path.as<std::string>(), size.as<int64_t>(), *hex};
}

}  // namespace

bool has_exactly(const Json& value, std::span<const Field> fields) {
  const auto* object = std::get_if<JsonObject>(&value.value);
  return object != nullptr && object->size() == fields.size() &&
         std::all_of(fields.begin(), fields.end(), [&](const Field& field) {
           return find(*object, field.name) != nullptr;
         });
}

const Json& get(const JsonObject& object, std::string_view name) { return *find(object, name); }

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::string names_of(std::span<const Field> fields) {
  std::string names;
  for (const Field& field : fields) names += (names.empty() ? "" : ", ") + std::string(field.name);
  return names;
}

std::vector<FileEntry> read_files(const JsonArray& rows, const std::string& source) {
  std::vector<FileEntry> files;
  std::unordered_set<std::string> paths;
  for (size_t i = 0; i < rows.size(); ++i) {
    files.push_back(read_file(rows[i], source + ": files[" + std::to_string(i) + "]"));
    paths.insert(files.back().path);
  }
  if (paths.size() != files.size()) {
    throw EngineError(source + ": files lists a path twice; export the engine again");
  }
  return files;
}

std::optional<PlanFacts> read_plan(const Json& value, const std::string& source) {
  if (value.type() == Type::null) return {};
  const std::string where = source + ": plan";
  if (!has_exactly(value, kPlanFields)) {
    throw EngineError(where + ": expected the fields " + names_of(kPlanFields));
  }
  const auto& plan = value.as<JsonObject>();
  for (const Field& field : kPlanFields) {
    const Json& found = get(plan, field.name);
    const bool text = field.type == Type::text;
    const bool fits = found.type() == field.type &&
                      (text ? is_printable(found.as<std::string>()) &&
                                  !found.as<std::string>().empty()
                            : found.as<int64_t>() > 0 &&
                                  found.as<int64_t>() <= std::numeric_limits<int32_t>::max());
    if (fits) continue;
    throw EngineError(where + "." + field.name + " is " + quote(found, 40) + ", expected " +
                      (text ? "text" : "a positive integer"));
  }
  const auto text = [&](const char* name) { return get(plan, name).as<std::string>(); };
  const auto number = [&](const char* name) { return get(plan, name).as<int64_t>(); };
  return PlanFacts{text("file"),    text("builder"),          text("gpu"),
                   number("slots"), number("prefill_tokens"), number("capacity")};
}

}  // namespace deltaport
