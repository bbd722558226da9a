#include "manifest.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <new>

#include "errors.h"
#include "json.h"
#include "manifest_rows.h"
#include "package_files.h"
#include "sha256.h"

namespace deltaport {

namespace {

using Type = Json::Type;

// Raised whenever an older runtime would misread a newer engine.
constexpr int64_t kSchemaVersion = 4;
constexpr char kVersionField[] = "schema_version";

// What is in `model` and `quantization` nothing here goes by; Python's reader checks the latter.
constexpr Field kFields[] = {
    {"deltaport_version", Type::text}, {"target", Type::text},
    {"ragged", Type::boolean},         {"dtype", Type::text},
    {"decoder", Type::text},           {"vocab_size", Type::integer},
    {"max_positions", Type::integer},  {"eos_token_ids", Type::array},
    {"op_library_version", Type::integer}, {"quantization", Type::object, true},
    {"model", Type::object},           {"not_exported", Type::object},
    {"state", Type::array},            {"files", Type::array},
    {"plan", Type::object, true},
};

Json parse(const std::string& text, const std::string& source) {
  try {
    Json document = parse_json(text);
    if (document.type() == Type::object) return document;
    throw JsonError(std::string("holds a ") + name_of(document.type()) +
                    "; expected a JSON object");
  } catch (const JsonError& error) {
    throw EngineError(source + ": " + error.what() + "; export the engine again");
  }
}

void check_version(const JsonObject& document, const std::string& source) {
  const Json* found = find(document, kVersionField);
  const int64_t* version = found == nullptr ? nullptr : std::get_if<int64_t>(&found->value);
  if (version == nullptr || *version < 1) {
    throw EngineError(source + ": schema_version is " +
                      quote(found == nullptr ? Json{nullptr} : *found, 40) +
                      ", expected an integer");
  }
  const std::string newest = std::to_string(kSchemaVersion);
  if (*version > kSchemaVersion) {
    throw EngineError(source + ": schema version " + std::to_string(*version) +
                      " is newer than " + newest + ", the newest this deltaport reads; upgrade "
                      "deltaport or export the engine again");
  }
  if (*version < kSchemaVersion) {
    throw EngineError(source + ": schema version " + std::to_string(*version) +
                      " was written by an older deltaport, this one reads " + newest +
                      "; export the engine again");
  }
}

void check_fields(const JsonObject& document, const std::string& source) {
  for (const Field& field : kFields) {
    const Json* found = find(document, field.name);
    if (found == nullptr) {
      throw EngineError(source + ": " + field.name + " is missing; export the engine again");
    }
    if (found->type() == Type::null && field.may_be_null) continue;
    if (found->type() != field.type) {
      throw EngineError(source + ": " + field.name + " is " + quote(*found, 60) + ", expected " +
                        name_of(field.type));
    }
  }
  for (const JsonMember& member : document) {
    const bool known = member.name == kVersionField ||
                       std::any_of(std::begin(kFields), std::end(kFields),
                                   [&](const Field& field) { return member.name == field.name; });
    if (!known) {
      throw EngineError(source + ": unknown field " + quote(member.name, 60) +
                        "; export the engine again");
    }
  }
  for (const char* name : {"vocab_size", "max_positions", "op_library_version"}) {
    const int64_t size = get(document, name).as<int64_t>();
    if (size <= 0 || size > std::numeric_limits<int32_t>::max()) {
      throw EngineError(source + ": " + name + " is " + std::to_string(size) +
                        ", expected a positive integer");
    }
  }
  for (const auto& [kind, count] : get(document, "not_exported").as<JsonObject>()) {
    if (count.type() != Type::integer || count.as<int64_t>() < 0) {
      throw EngineError(source + ": not_exported[" + quote(kind, 40) + "] is " +
                        quote(count, 40) + ", expected a count");
    }
  }
}

std::vector<int64_t> read_eos(const JsonArray& tokens, int64_t vocab_size,
                              const std::string& source) {
  std::vector<int64_t> ids;
  for (const Json& token : tokens) {
    const int64_t* id = std::get_if<int64_t>(&token.value);
    if (id == nullptr || *id < 0 || *id >= vocab_size) {
      throw EngineError(source + ": eos_token_ids holds " + quote(token, 40) +
                        ", expected token ids");
    }
    ids.push_back(*id);
  }
  return ids;
}

Manifest read_and_check(const std::filesystem::path& folder, bool checksums) {
  const std::string source = (folder / kManifestName).string();
  const std::string text = read_manifest(folder);
  const Json json = parse(text, source);
  const auto& document = json.as<JsonObject>();
  check_version(document, source);
  check_fields(document, source);
  const auto integer = [&](const char* name) { return get(document, name).as<int64_t>(); };
  const auto rows = [&](const char* name) -> const JsonArray& {
    return get(document, name).as<JsonArray>();
  };
  Manifest manifest{
      get(document, "target").as<std::string>(),
      get(document, "ragged").as<bool>(),
      get(document, "decoder").as<std::string>(),
      integer("vocab_size"),
      integer("max_positions"),
      read_eos(rows("eos_token_ids"), integer("vocab_size"), source),
      integer("op_library_version"),
      {},
      {},
      sha256(text),
  };
  const std::vector<FileEntry> files = read_files(rows("files"), source);
  const auto must_be_listed = [&](const char* what, const std::string& path) {
    if (std::ranges::find(files, path, &FileEntry::path) == files.end()) {
      throw EngineError(source + ": " + what + " " + quote(path, 80) + " is not among files");
    }
  };
  must_be_listed("decoder", manifest.decoder);
  manifest.plan = read_plan(get(document, "plan"), source);
  if (manifest.plan) must_be_listed("plan", manifest.plan->file);
  manifest.state = read_state(rows("state"), source);
  check_files(folder, files, checksums);
  return manifest;
}

}  // namespace

Manifest open_manifest(const std::filesystem::path& folder, bool checksums) {
  try {
    return read_and_check(folder, checksums);
  } catch (const std::bad_alloc&) {  // 64 MiB of brackets are gigabytes of values
    throw EngineError((folder / kManifestName).string() +
                      ": takes more memory than there is; export the engine again");
  }
}

}  // namespace deltaport
