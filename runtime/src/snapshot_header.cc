#include "snapshot_header.h"

#include <stdexcept>

#include "json.h"

namespace deltaport {

namespace {

constexpr char kMetadata[] = "__metadata__";
constexpr size_t kMostDims = 8;

std::string json_text(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string found = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      found += {'\\', c};
    } else if (byte < 0x20) {
      found += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      found += c;
    }
  }
  return found + '"';
}

std::string joined(std::span<const int64_t> numbers, const char* between) {
  std::string text;
  for (const int64_t number : numbers) {
    text += (text.empty() ? "" : between) + std::to_string(number);
  }
  return text;
}

std::map<std::string, std::string> read_metadata(const Json& found) {
  const auto* members = std::get_if<JsonObject>(&found.value);
  if (members == nullptr) throw std::runtime_error("has metadata that is no object");
  std::map<std::string, std::string> metadata;
  for (const JsonMember& member : *members) {
    const auto* text = std::get_if<std::string>(&member.value.value);
    if (text == nullptr) throw std::runtime_error("has metadata that is no text");
    metadata[member.name] = *text;
  }
  return metadata;
}

std::vector<int64_t> read_numbers(const Json* found, const std::string& name) {
  const auto* items = found == nullptr ? nullptr : std::get_if<JsonArray>(&found->value);
  std::vector<int64_t> numbers;
  for (size_t i = 0; items != nullptr && i < items->size(); ++i) {
    const auto* number = std::get_if<int64_t>(&(*items)[i].value);
    if (number == nullptr || *number < 0 || i == kMostDims) break;
    numbers.push_back(*number);
  }
  if (items == nullptr || numbers.size() != items->size()) {
    throw std::runtime_error(quote(name, 80) + " has a shape or offsets that are no short list of numbers");
  }
  return numbers;
}

FileTensor read_tensor(const JsonMember& found) {
  const auto* members = std::get_if<JsonObject>(&found.value.value);
  const Json* dtype = members == nullptr ? nullptr : find(*members, "dtype");
  if (dtype == nullptr || dtype->type() != Json::Type::text) {
    throw std::runtime_error(quote(found.name, 80) + " has no dtype");
  }
  const std::vector<int64_t> offsets = read_numbers(find(*members, "data_offsets"), found.name);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw std::runtime_error(quote(found.name, 80) + " has offsets that are no range");
  }
  return {dtype->as<std::string>(), read_numbers(find(*members, "shape"), found.name), offsets[0],
          offsets[1]};
}

}  // namespace

std::string SnapshotHeader::text() const {
  std::string found = "{" + json_text(kMetadata) + ":{";
  for (const auto& [name, value] : metadata) {
    found += (found.back() == '{' ? "" : ",") + json_text(name) + ":" + json_text(value);
  }
  found += "}";
  for (const auto& [name, tensor] : tensors) {
    found += "," + json_text(name) + ":{\"dtype\":" + json_text(tensor.dtype) + ",\"shape\":[" +
             joined(tensor.shape, ",") + "],\"data_offsets\":[" + std::to_string(tensor.begin) +
             "," + std::to_string(tensor.end) + "]}";
  }
  found += "}";
  found.resize((found.size() + 7) / 8 * 8, ' ');  // what follows lies as tensors want to
  return found;
}

Sha256 SnapshotHeader::checksum() const {
  Sha256 digest;
  for (const auto& [name, value] : metadata) {
    if (name == kChecksum) continue;
    const std::string line = name + "=" + value + "\n";
    digest.update(line.data(), line.size());
  }
  return digest;
}

void add_to_checksum(Sha256& checksum, const std::string& name, const FileTensor& tensor) {
  const std::string line = name + " " + tensor.dtype + " " + joined(tensor.shape, ",") + "\n";
  checksum.update(line.data(), line.size());
}

SnapshotHeader parse_snapshot_header(std::string_view text) {
  const Json json = parse_json(text);
  const auto* members = std::get_if<JsonObject>(&json.value);
  if (members == nullptr) throw std::runtime_error("has a header that is no object");
  SnapshotHeader header;
  for (const JsonMember& member : *members) {
    if (member.name == kMetadata) {
      header.metadata = read_metadata(member.value);
    } else {
      header.tensors[member.name] = read_tensor(member);
    }
  }
  return header;
}

std::string shown(const FileTensor& tensor) {
  return quote(tensor.dtype, 20) + " [" + joined(tensor.shape, ", ") + "]";
}

}  // namespace deltaport
