// How a node of an ONNX graph finds its op in this library.
//
// TensorRT's parsers look a plugin up by the node's op type and its attributes plugin_version ("1"
// if there is none) and plugin_namespace. The parser of TensorRT for RTX 1.7 then tries the node's
// domain for a namespace; as not all do, a node is to carry both attributes. It is to have all
// those of its definition, too, for the parser warns of any it does not find. The model must not
// carry the op's body: the parser prefers a local function to any plugin.
#pragma once

namespace deltaport::tensorrt {

constexpr const char* kNamespace = "ai.deltaport";
constexpr const char* kVersion = "1";

}  // namespace deltaport::tensorrt
