// The reader of manifests, and what it is made of, for tests.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <string_view>

#include "bindings.h"
#include "json.h"
#include "manifest.h"
#include "sha256.h"

namespace nb = nanobind;
using namespace deltaport;

namespace {

nb::object to_python(const Json& json) {
  switch (json.type()) {
    case Json::Type::null: return nb::none();
    case Json::Type::boolean: return nb::cast(json.as<bool>());
    case Json::Type::integer: return nb::cast(json.as<int64_t>());
    case Json::Type::real: return nb::cast(json.as<double>());
    case Json::Type::text: return nb::cast(json.as<std::string>());
    case Json::Type::array: {
      nb::list items;
      for (const Json& item : json.as<JsonArray>()) items.append(to_python(item));
      return items;
    }
    case Json::Type::object: {
      nb::dict members;
      for (const JsonMember& member : json.as<JsonObject>()) {
        members[nb::cast(member.name)] = to_python(member.value);
      }
      return members;
    }
  }
  return nb::none();
}

const char* name_of(StateKind kind) {
  switch (kind) {
    case StateKind::kv: return "kv";
    case StateKind::conv: return "conv";
    default: return "recurrent";
  }
}

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::float32: return "float32";
    case ElementType::float16: return "float16";
    case ElementType::bfloat16: return "bfloat16";
    default: return "int64";
  }
}

nb::dict row_of(const StateTensor& tensor) {
  nb::list shape;
  for (const int64_t size : tensor.shape) {
    if (size == kSlots) {
      shape.append("slots");
    } else if (size == kCapacity) {
      shape.append("capacity");
    } else {
      shape.append(size);
    }
  }
  nb::dict row;
  row["input"] = tensor.input;
  row["output"] = tensor.output;
  row["kind"] = name_of(tensor.kind);
  row["dtype"] = name_of(tensor.dtype);
  row["shape"] = shape;
  row["update"] = tensor.in_place ? "in_place" : "swap";
  row["rewindable"] = tensor.rewindable;
  return row;
}

nb::dict opened(const std::string& folder, bool checksums) {
  const Manifest manifest = [&] {
    const nb::gil_scoped_release unlocked;  // reading gigabytes takes a while
    return open_manifest(folder, checksums);
  }();
  nb::list state;
  for (const StateTensor& tensor : manifest.state) state.append(row_of(tensor));
  nb::dict fields;
  fields["target"] = manifest.target;
  fields["ragged"] = manifest.ragged;
  fields["decoder"] = manifest.decoder;
  fields["vocab_size"] = manifest.vocab_size;
  fields["max_positions"] = manifest.max_positions;
  fields["eos_token_ids"] = manifest.eos_token_ids;
  fields["op_library_version"] = manifest.op_library_version;
  fields["state"] = state;
  fields["plan"] = nb::none();
  if (const std::optional<PlanFacts>& plan = manifest.plan) {
    nb::dict facts;
    facts["file"] = plan->file;
    facts["builder"] = plan->builder;
    facts["gpu"] = plan->gpu;
    facts["slots"] = plan->slots;
    facts["prefill_tokens"] = plan->prefill_tokens;
    facts["capacity"] = plan->capacity;
    fields["plan"] = facts;
  }
  fields["identity"] = manifest.identity;
  return fields;
}

std::string_view view(const nb::bytes& data) { return {data.c_str(), data.size()}; }

nb::object parsed(const nb::bytes& text) {
  try {
    return to_python(parse_json(view(text)));
  } catch (const JsonError& error) {
    throw nb::value_error(error.what());
  }
}

}  // namespace

void bind_manifest(nb::module_& m) {
  m.def("open_manifest", &opened, nb::arg("folder"), nb::arg("checksums"),
        nb::sig("def open_manifest(folder: str, checksums: bool) -> dict[str, object]"));
  m.def("parse_json", &parsed, nb::arg("text"));
  m.def("sha256", [](const nb::bytes& data) { return sha256(view(data)); }, nb::arg("data"));
}
