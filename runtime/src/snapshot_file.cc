#include "snapshot_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>
#include <utility>

#include "errors.h"
#include "json.h"
#include "new_file.h"
#include "snapshot_header.h"

namespace deltaport {

namespace fs = std::filesystem;

namespace {

constexpr char kFormat[] = "deltaport-snapshot-1";
constexpr char kTokens[] = "tokens", kLogits[] = "logits", kState[] = "state.";
constexpr uint64_t kHeaderLimit = uint64_t{1} << 20;  // far above that of any real snapshot

const char* safetensors_name(ElementType type) {
  switch (type) {
    case ElementType::float32: return "F32";
    case ElementType::float16: return "F16";
    case ElementType::bfloat16: return "BF16";
    default: return "I64";
  }
}

FileTensor tensor_of(ElementType type, std::vector<int64_t> shape) {
  FileTensor tensor{safetensors_name(type), std::move(shape)};
  tensor.end = static_cast<int64_t>(item_size(type));
  for (const int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(tensor.end, size, &tensor.end)) {
      throw CapacityError("the engine's state is larger than any memory; export the engine again");
    }
  }
  return tensor;
}

// The tensors of a snapshot, each from its own byte 0 on.
std::map<std::string, FileTensor> tensors_of(const StateLayout& layout, int64_t tokens,
                                             int64_t length, int64_t logits) {
  std::map<std::string, FileTensor> found;
  found[kTokens] = tensor_of(ElementType::int64, {tokens});
  if (logits > 0) found[kLogits] = tensor_of(ElementType::float32, {logits});
  for (const StateTensor& tensor : layout) {
    std::vector<int64_t> shape(tensor.shape.begin() + 1, tensor.shape.end());
    std::ranges::replace(shape, kCapacity, length);
    found[kState + tensor.input] = tensor_of(tensor.dtype, std::move(shape));
  }
  return found;
}

using Bytes = std::pair<std::byte*, size_t>;

// Where the bytes of a snapshot's tensors are.
std::map<std::string, Bytes> bytes_of(Snapshot& snapshot) {
  std::map<std::string, Bytes> found;
  found[kTokens] = {reinterpret_cast<std::byte*>(snapshot.tokens.data()),
                    snapshot.tokens.size() * sizeof(int64_t)};
  if (!snapshot.logits.empty()) {
    found[kLogits] = {reinterpret_cast<std::byte*>(snapshot.logits.data()),
                      snapshot.logits.size() * sizeof(float)};
  }
  for (size_t t = 0; t < snapshot.layout.size(); ++t) {
    SnapshotPart& part = snapshot.state[t];
    found[kState + snapshot.layout[t].input] = {part.data.get(), part.size};
  }
  return found;
}

std::string checksum_of(const SnapshotHeader& header, const std::map<std::string, Bytes>& bytes) {
  Sha256 digest = header.checksum();
  for (const auto& [name, tensor] : header.tensors) {
    add_to_checksum(digest, name, tensor);
    const auto& [data, size] = bytes.at(name);
    digest.update(data, size);
  }
  return hex(digest.finish());
}

// A snapshot's file, read with distrust.
class SnapshotReader {
 public:
  SnapshotReader(const fs::path& path, const Manifest& manifest)
      : path_(path), manifest_(manifest) {}

  Snapshot read() {
    open();
    read_header();
    const std::string& format = metadata("format");
    if (format != kFormat) {
      fail(std::string("not a snapshot that this deltaport reads, expected ") + kFormat);
    }
    if (metadata("engine") != manifest_.identity) {
      fail("the snapshot was taken with another engine; open that engine, or prefill the tokens "
           "again");
    }
    Snapshot snapshot{manifest_.identity, manifest_.state, {}, 0, {}, {}};
    make_room(snapshot);
    const auto bytes = bytes_of(snapshot);
    for (const auto& [name, tensor] : header_.tensors) read_tensor(tensor, bytes.at(name));
    if (checksum_of(header_, bytes) != metadata(kChecksum)) {
      fail("checksum differs; the file was altered, save it again");
    }
    check_tokens(snapshot.tokens);
    return snapshot;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw InputError(path_.string() + ": " + problem);
  }

  // Empty for an item that is not there.
  const std::string& metadata(const char* name) const {
    static const std::string nothing;
    const auto found = header_.metadata.find(name);
    return found == header_.metadata.end() ? nothing : found->second;
  }

  void open() {
    std::error_code error;
    if (!fs::is_regular_file(path_, error)) {  // reading a pipe or a device may never end
      fail("no such snapshot; Session.snapshot(row).save writes one");
    }
    size_ = fs::file_size(path_, error);
    if (error) fail("cannot be read: " + error.message());
    file_.open(path_, std::ios::binary);
    if (!file_) fail("cannot be read: " + std::generic_category().message(errno));
  }

  void read_bytes(void* to, size_t size) {
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(size));
    if (static_cast<size_t>(file_.gcount()) != size) fail("cut short; save it again");
  }

  void read_header() {
    uint8_t prefix[8];
    if (size_ < sizeof prefix) fail("not a snapshot: too short for one");
    read_bytes(prefix, sizeof prefix);
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
    if (length > size_ - sizeof prefix || length > kHeaderLimit) {
      fail("not a snapshot, or damaged: its header would be larger than it may be");
    }
    std::string text(length, '\0');
    read_bytes(text.data(), length);
    data_ = sizeof prefix + length;
    try {
      header_ = parse_snapshot_header(text);
    } catch (const std::runtime_error& error) {
      fail(std::string("not a snapshot, or damaged: ") + error.what());
    }
  }

  // Checks that the tensors are those of a snapshot of the engine, and makes room for them: what
  // they take is in the file, too.
  void make_room(Snapshot& snapshot) {
    const auto tokens = header_.tensors.find(kTokens);
    if (tokens == header_.tensors.end() || tokens->second.dtype != "I64" ||
        tokens->second.shape.size() != 1) {
      fail("tokens are missing or no list of int64; save it again");
    }
    const int64_t count = tokens->second.shape[0];
    const std::string& text = metadata("length");
    int64_t length = -1;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), length);
    const bool is_number = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
    if (!is_number || length < 0 || length > count || count > manifest_.max_positions) {
      fail("the state has seen " + quote(text, 40) + " of " + std::to_string(count) +
           " tokens, expected at most all of them and no more than " +
           std::to_string(manifest_.max_positions) + "; save it again");
    }
    const bool has_logits = header_.tensors.contains(kLogits);
    if (has_logits && length != count) {
      fail("has logits, though the state has seen " + std::to_string(length) + " of " +
           std::to_string(count) + " tokens; save it again");
    }
    const int64_t logits = has_logits ? manifest_.vocab_size : 0;
    check_tensors(tensors_of(manifest_.state, count, length, logits));
    snapshot.length = length;
    snapshot.tokens.resize(static_cast<size_t>(count));
    snapshot.logits.resize(static_cast<size_t>(logits));
    for (const StateTensor& tensor : manifest_.state) {
      const FileTensor& found = header_.tensors.at(kState + tensor.input);
      snapshot.state.emplace_back(static_cast<size_t>(found.end - found.begin));
    }
  }

  void check_tensors(const std::map<std::string, FileTensor>& expected) {
    for (const auto& [name, tensor] : header_.tensors) {
      if (!expected.contains(name)) fail(quote(name, 80) + " is not part of a snapshot; save it again");
    }
    uint64_t all = 0;
    for (const auto& [name, wanted] : expected) {
      const auto at = header_.tensors.find(name);
      if (at == header_.tensors.end()) fail(quote(name, 80) + " is missing; save it again");
      const FileTensor& found = at->second;
      if (found.dtype != wanted.dtype || found.shape != wanted.shape) {
        fail(quote(name, 80) + " is " + shown(found) + ", expected " + shown(wanted) +
             "; save it again");
      }
      const uint64_t size = found.end - found.begin;
      if (size != static_cast<uint64_t>(wanted.end) ||
          static_cast<uint64_t>(found.end) > size_ - data_) {
        fail(quote(name, 80) + " does not lie where it can; save it again");
      }
      all += size;
    }
    if (all != size_ - data_) fail("holds more or less than its tensors; save it again");
  }

  void read_tensor(const FileTensor& tensor, const Bytes& to) {
    file_.seekg(static_cast<std::streamoff>(data_ + tensor.begin));
    read_bytes(to.first, to.second);
  }

  void check_tokens(const std::vector<int64_t>& tokens) const {
    const int64_t vocab_size = manifest_.vocab_size;
    const bool known = std::ranges::all_of(
        tokens, [&](int64_t token) { return token >= 0 && token < vocab_size; });
    if (!known) fail("tokens go beyond the vocabulary of " + std::to_string(vocab_size));
  }

  const fs::path path_;
  const Manifest& manifest_;
  std::ifstream file_;
  uint64_t size_ = 0;
  uint64_t data_ = 0;  // where the header ends
  SnapshotHeader header_;
};

}  // namespace

void save_snapshot(const Snapshot& snapshot, const fs::path& path) {
  const auto bytes = bytes_of(const_cast<Snapshot&>(snapshot));  // which are only read
  SnapshotHeader header{
      {{"format", kFormat},
       {"engine", snapshot.identity},
       {"length", std::to_string(snapshot.length)}},
      tensors_of(snapshot.layout, static_cast<int64_t>(snapshot.tokens.size()), snapshot.length,
                 static_cast<int64_t>(snapshot.logits.size()))};
  int64_t next = 0;
  for (auto& [name, tensor] : header.tensors) {
    tensor.begin = next;
    tensor.end += next;
    next = tensor.end;
  }
  header.metadata[kChecksum] = checksum_of(header, bytes);
  const std::string text = header.text();
  uint8_t prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = static_cast<uint8_t>(text.size() >> (8 * i));
  NewFile file(path);
  file.write(prefix, sizeof prefix);
  file.write(text.data(), text.size());
  for (const auto& [name, tensor] : header.tensors) {
    file.write(bytes.at(name).first, bytes.at(name).second);
  }
  file.put_in_place();
}

Snapshot load_snapshot(const fs::path& path, const Manifest& manifest) {
  return SnapshotReader(path, manifest).read();
}

}  // namespace deltaport
