#include "manifest_rows.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "errors.h"

namespace deltaport {

namespace {

using Type = Json::Type;

// Characters the name of a tensor may have: far above any real one.
constexpr size_t kNameLimit = 200;

constexpr Field kStateFields[] = {
    {"layer", Type::integer}, {"kind", Type::text},   {"input", Type::text},
    {"output", Type::text},   {"shape", Type::array}, {"dtype", Type::text},
    {"update", Type::text},   {"rewindable", Type::boolean},
};

template <typename T>
struct Named {
  std::string_view name;
  T value;
};
constexpr Named<StateKind> kKinds[] = {{"kv", StateKind::kv},
                                       {"conv", StateKind::conv},
                                       {"recurrent", StateKind::recurrent}};
constexpr Named<bool> kUpdates[] = {{"in_place", true}, {"swap", false}};
constexpr Named<ElementType> kTypes[] = {{"float32", ElementType::float32},
                                         {"float16", ElementType::float16},
                                         {"bfloat16", ElementType::bfloat16}};
constexpr Named<int64_t> kDimensions[] = {{"slots", kSlots}, {"capacity", kCapacity}};

// Null where nothing in the table has the name.
template <typename T, size_t N>
const T* look_up(const Named<T> (&table)[N], const Json& name) {
  for (const Named<T>& row : table) {
    if (name.type() == Type::text && row.name == name.as<std::string>()) return &row.value;
  }
  return nullptr;
}

std::vector<int64_t> read_shape(StateKind kind, const std::string& kind_name,
                                const JsonArray& items, const std::string& where) {
  std::vector<int64_t> shape;
  for (const Json& item : items) {
    const int64_t* named = look_up(kDimensions, item);
    const int64_t size = named != nullptr              ? *named
                         : item.type() == Type::integer ? item.as<int64_t>()
                                                        : 0;
    if (named == nullptr && (size <= 0 || size > std::numeric_limits<int32_t>::max())) {
      throw EngineError(where + ".shape: expected sizes, slots or capacity, found " +
                        quote(item, 40));
    }
    shape.push_back(size);
  }
  if (shape.size() < 2 || shape[0] != kSlots ||
      std::count(shape.begin(), shape.end(), kSlots) != 1) {
    throw EngineError(where + ".shape: expected slots as the leading dimension only");
  }
  const bool cache = kind == StateKind::kv;
  if (std::count(shape.begin(), shape.end(), kCapacity) != (cache ? 1 : 0)) {
    throw EngineError(where + ".shape: expected capacity " + (cache ? "once" : "nowhere") +
                      " in a state of kind " + kind_name);
  }
  return shape;
}

std::string read_name(const JsonObject& row, const char* end, const std::string& where) {
  const Json& name = get(row, end);
  const std::string& text = name.as<std::string>();
  // It is shown in errors, so it must be what a terminal can take.
  if (!is_printable(text) || text.empty() || text.size() > kNameLimit) {
    throw EngineError(where + "." + end + ": expected a printable name of at most " +
                      std::to_string(kNameLimit) + " characters, found " + quote(name, 60));
  }
  return text;
}

StateTensor read_state_row(const Json& value, const std::string& where) {
  if (!has_exactly(value, kStateFields)) {
    throw EngineError(where + ": expected the fields " + names_of(kStateFields));
  }
  const auto& row = value.as<JsonObject>();
  for (const Field& field : kStateFields) {
    const Json& found = get(row, field.name);
    if (found.type() != field.type) {
      throw EngineError(where + "." + field.name + ": expected " + name_of(field.type) +
                        ", found " + quote(found, 60));
    }
  }
  const StateKind* kind = look_up(kKinds, get(row, "kind"));
  const bool* in_place = look_up(kUpdates, get(row, "update"));
  if (kind == nullptr || in_place == nullptr) {
    throw EngineError(where + ": unknown kind " + quote(get(row, "kind"), 40) + " or update " +
                      quote(get(row, "update"), 40));
  }
  const ElementType* dtype = look_up(kTypes, get(row, "dtype"));
  if (dtype == nullptr) {
    throw EngineError(where + ".dtype: expected float32, float16, bfloat16, found " +
                      quote(get(row, "dtype"), 40));
  }
  if (get(row, "layer").as<int64_t>() < 0) {
    throw EngineError(where + ".layer: expected 0 or more, found " + quote(get(row, "layer"), 40));
  }
  std::string input = read_name(row, "input", where);
  std::string output = read_name(row, "output", where);
  return {std::move(input),
          std::move(output),
          *kind,
          *dtype,
          read_shape(*kind, get(row, "kind").as<std::string>(),
                     get(row, "shape").as<JsonArray>(), where),
          *in_place,
          get(row, "rewindable").as<bool>()};
}

}  // namespace

StateLayout read_state(const JsonArray& rows, const std::string& source) {
  StateLayout state;
  std::unordered_set<std::string> names;
  for (size_t i = 0; i < rows.size(); ++i) {
    state.push_back(read_state_row(rows[i], source + ": state[" + std::to_string(i) + "]"));
    names.insert({state.back().input, state.back().output});
  }
  if (names.size() != 2 * state.size()) {
    throw EngineError(source + ": state names a tensor twice; export the engine again");
  }
  return state;
}

}  // namespace deltaport
