"""Classes for a fake of TensorRT, made of its headers: every function aborts unless overridden."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["stubs"]

CLASSES = {
    "RuntimeStub": ("NvInferImpl.h", "VRuntime", "apiv::VRuntime"),
    "EngineStub": ("NvInferImpl.h", "VCudaEngine", "apiv::VCudaEngine"),
    "ContextStub": ("NvInferImpl.h", "VExecutionContext", "apiv::VExecutionContext"),
    "RegistryStub": ("NvInferRuntimeCommon.h", "IPluginRegistry", "IPluginRegistry"),
}
"""By name: the header, the class in it, and what that is derived from as."""

_PURE = re.compile(r"virtual ([^;{}]*?)\b(\w+)\(([^;{}]*)\)([\w\s]*?)=\s*0\s*;")


def stubs(include: Path) -> str:
    """The text of a header with a class for each of ``CLASSES``."""
    parts = ["#pragma once\n#include <cstdlib>\n#include <cstdio>\nnamespace nvinfer1 {\n"]
    for name, (header, origin, base) in CLASSES.items():
        functions = [
            f"  {result.strip()} {function}({arguments}) {qualifiers.strip()} override "
            f'{{ std::fprintf(stderr, "fake TensorRT has no {function}\\n"); std::abort(); }}\n'
            for result, function, arguments, qualifiers in _PURE.findall(
                _body(include / header, origin)
            )
        ]
        assert functions, f"{header} has no class {origin}"
        parts.append(f"class {name} : public {base} {{\n public:\n{''.join(functions)}}};\n")
    parts.append("}  // namespace nvinfer1\n")
    return "".join(parts)


def _body(header: Path, name: str) -> str:
    text = re.sub(r"//.*", "", header.read_text())
    text = re.sub(r"#if ENABLE_FEATURE_DISABLE_RUNTIME_ALLOCATION.*?#endif", "", text, flags=re.S)
    found = re.search(rf"\nclass {name}\b[^;{{]*\{{(.*?)\n\}};", text, flags=re.S)
    return found.group(1) if found else ""
