#include <charconv>

#include "json.h"

namespace deltaport {

namespace {

// Appends to `text` until it is past `limit`: a value of megabytes costs no more than a short one.
struct Quoter {
  size_t limit;
  std::string text;

  bool full() const { return text.size() >= limit; }

  void add(std::string_view value) {
    constexpr char kHex[] = "0123456789abcdef";
    text += '\'';
    for (const char c : value) {
      if (full()) return;
      const auto byte = static_cast<unsigned char>(c);
      if (c == '\n') {
        text += "\\n";
      } else if (c == '\t') {
        text += "\\t";
      } else if (c == '\r') {
        text += "\\r";
      } else if (byte < 0x20 || byte > 0x7e) {
        text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      } else {
        if (c == '\\' || c == '\'') text += '\\';
        text += c;
      }
    }
    text += '\'';
  }

  void add(double value) {
    char digits[32];
    const std::string_view shortest(digits,
                                    std::to_chars(digits, digits + sizeof digits, value).ptr);
    text += shortest;
    if (shortest.find_first_of(".e") == std::string_view::npos) text += ".0";
  }

  void add(const Json& value) {
    switch (value.type()) {
      case Json::Type::null: text += "None"; break;
      case Json::Type::boolean: text += value.as<bool>() ? "True" : "False"; break;
      case Json::Type::integer: text += std::to_string(value.as<int64_t>()); break;
      case Json::Type::real: add(value.as<double>()); break;
      case Json::Type::text: add(std::string_view(value.as<std::string>())); break;
      case Json::Type::array: add(value.as<JsonArray>()); break;
      case Json::Type::object: add(value.as<JsonObject>()); break;
    }
  }

  void add(const JsonArray& items) {
    text += '[';
    for (size_t i = 0; i < items.size() && !full(); ++i) {
      if (i > 0) text += ", ";
      add(items[i]);
    }
    text += ']';
  }

  void add(const JsonObject& members) {
    text += '{';
    for (size_t i = 0; i < members.size() && !full(); ++i) {
      if (i > 0) text += ", ";
      add(std::string_view(members[i].name));
      text += ": ";
      add(members[i].value);
    }
    text += '}';
  }

  std::string cut() { return text.substr(0, limit); }
};

}  // namespace

std::string quote(const Json& value, size_t limit) {
  Quoter quoter{limit, {}};
  quoter.add(value);
  return quoter.cut();
}

std::string quote(std::string_view text, size_t limit) {
  Quoter quoter{limit, {}};
  quoter.add(text);
  return quoter.cut();
}

const char* name_of(Json::Type type) {
  switch (type) {
    case Json::Type::null: return "NoneType";
    case Json::Type::boolean: return "bool";
    case Json::Type::integer: return "int";
    case Json::Type::real: return "float";
    case Json::Type::text: return "str";
    case Json::Type::array: return "list";
    case Json::Type::object: return "dict";
  }
  return "";
}

}  // namespace deltaport
