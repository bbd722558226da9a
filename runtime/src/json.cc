#include "json.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "utf8.h"

namespace deltaport {

namespace {

constexpr int kMaxDepth = 64;

// Complaints are worded as those of Python's json, so that both readers say the same of a file.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json document() {
    const size_t valid = valid_utf8_prefix(text_);
    if (valid != text_.size()) {
      throw JsonError("is not UTF-8 text (byte " + std::to_string(valid) + ")");
    }
    Json found = value(0);
    skip_space();
    if (at_ != text_.size()) fail("Extra data", at_);
    return found;
  }

 private:
  [[noreturn]] void fail(const std::string& problem, size_t at) const {
    const std::string_view before = text_.substr(0, at);
    const size_t line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::string_view last = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
    const size_t column = std::count_if(last.begin(), last.end(), starts_character) + 1;
    throw JsonError("is not valid JSON: " + problem + " (line " + std::to_string(line) +
                    ", column " + std::to_string(column) + ")");
  }

  // The text ends in NUL for whoever looks one too far; a real NUL is valid nowhere either.
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    return true;
  }

  void skip_space() {
    at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size());
  }

  Json value(int depth) {
    skip_space();
    switch (peek()) {
      case '{': return object(depth);
      case '[': return array(depth);
      case '"': return {string()};
      default: break;
    }
    if (take("null")) return {nullptr};
    if (take("true")) return {true};
    if (take("false")) return {false};
    return number();
  }

  // Enters an array or object; whether it is empty, and then leaves it.
  bool enter(int depth, char close) {
    if (depth == kMaxDepth) throw JsonError("is nested too deeply to be real");
    ++at_;
    skip_space();
    return take({&close, 1});
  }

  // Whether another item follows; leaves the array or object if none does.
  bool more(char close) {
    skip_space();
    if (take(",")) return true;
    if (!take({&close, 1})) fail("Expecting ',' delimiter", at_);
    return false;
  }

  Json array(int depth) {
    JsonArray items;
    if (enter(depth, ']')) return {std::move(items)};
    do items.push_back(value(depth + 1));
    while (more(']'));
    return {std::move(items)};
  }

  Json object(int depth) {
    JsonObject members;
    if (enter(depth, '}')) return {std::move(members)};
    do {
      skip_space();
      if (peek() != '"') fail("Expecting property name enclosed in double quotes", at_);
      std::string name = string();
      skip_space();
      if (!take(":")) fail("Expecting ':' delimiter", at_);
      members.push_back({std::move(name), value(depth + 1)});
    } while (more('}'));
    const auto name_less = [](const auto& a, const auto& b) { return a.name < b.name; };
    const auto same_name = [](const auto& a, const auto& b) { return a.name == b.name; };
    std::sort(members.begin(), members.end(), name_less);
    const auto twice = std::adjacent_find(members.begin(), members.end(), same_name);
    if (twice != members.end()) {
      throw JsonError("names " + quote(twice->name, 60) + " twice in one object");
    }
    return {std::move(members)};
  }

  std::string string() {
    const size_t start = at_++;
    std::string found;
    while (true) {
      const size_t plain = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20) {
        ++at_;
      }
      found.append(text_, plain, at_ - plain);
      if (at_ == text_.size()) fail("Unterminated string starting at", start);
      if (take("\"")) return found;
      if (!take("\\")) fail("Invalid control character at", at_);
      escape(found, start);
    }
  }

  void escape(std::string& found, size_t start) {
    if (at_ == text_.size()) fail("Unterminated string starting at", start);
    constexpr char kNames[] = "\"\\/bfnrt";
    constexpr char kMeanings[] = "\"\\/\b\f\n\r\t";
    const size_t before = at_ - 1;
    const char name = text_[at_++];
    const void* named = std::memchr(kNames, name, sizeof(kNames) - 1);
    if (named != nullptr) {
      found += kMeanings[static_cast<const char*>(named) - kNames];
      return;
    }
    if (name != 'u') fail("Invalid \\escape", before);
    uint32_t code = code_unit();
    if (code >= 0xd800 && code < 0xdc00 && take("\\u")) {
      const uint32_t low = code_unit();
      if (low < 0xdc00 || low > 0xdfff) fail("Lone surrogate", before);
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xd800 && code < 0xe000) {
      fail("Lone surrogate", before);
    }
    append_utf8(found, code);
  }

  uint32_t code_unit() {
    uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc() || end - digits.data() != 4) fail("Invalid \\uXXXX escape", at_);
    at_ += 4;
    return code;
  }

  // Whether there were any.
  bool digits() {
    const size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ != start;
  }

  Json number() {
    const size_t start = at_;
    take("-");
    // A zero leads no other digits.
    if (!take("0") && !digits()) fail("Expecting value", start);
    bool whole = true;
    if (take(".")) {
      whole = false;
      if (!digits()) fail("Expecting digits", at_);
    }
    if (take("e") || take("E")) {
      whole = false;
      if (!take("+")) take("-");
      if (!digits()) fail("Expecting digits", at_);
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    int64_t integer = 0;
    if (whole && std::from_chars(first, last, integer).ec == std::errc()) return {integer};
    double real = 0;
    if (std::from_chars(first, last, real).ec != std::errc()) fail("Number out of range", start);
    return {real};
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Json parse_json(std::string_view text) { return Reader(text).document(); }

const Json* find(const JsonObject& object, std::string_view name) {
  const auto found = std::lower_bound(
      object.begin(), object.end(), name,
      [](const JsonMember& member, std::string_view wanted) { return member.name < wanted; });
  return found != object.end() && found->name == name ? &found->value : nullptr;
}

}  // namespace deltaport
