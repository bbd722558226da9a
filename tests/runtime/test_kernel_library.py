"""Finding the native kernels, choosing an instruction set, and what is said where that fails."""

from __future__ import annotations

import ctypes
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import helper

from deltaport.errors import EngineError
from deltaport.runtime import Engine
from deltaport.runtime.kernel_library import (
    ISA_VARIABLE,
    KERNELS_VARIABLE,
    kernel_library,
    supported_isas,
)
from deltaport.runtime.onnxruntime_library import ONNXRUNTIME_VARIABLE, onnxruntime_library
from tests.runtime.toy_engine import write_toy


def one_op() -> bytes:
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    node = helper.make_node("SwiGLU", ["x"], ["y"], domain="ai.deltaport")
    graph = helper.make_graph([node], "g", port[:1], port[1:])
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("ai.deltaport", 1)]
    serialized: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=10
    ).SerializeToString()
    return serialized


def open_session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(kernel_library()))
    return onnxruntime.InferenceSession(one_op(), options, providers=["CPUExecutionProvider"])


def test_every_machine_has_the_portable_kernels() -> None:
    assert supported_isas()[-1] == "portable"
    assert set(supported_isas()) <= {"avx512vnni", "avx512", "avx2", "portable"}


@pytest.mark.parametrize("isa", supported_isas())
def test_an_instruction_set_can_be_chosen(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, isa)
    open_session()


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, "avx9")
    with pytest.raises(Exception, match=r"DELTAPORT_ISA is 'avx9', but this machine runs: .*port"):
        open_session()


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, str(tmp_path / "no.so"))
    with pytest.raises(EngineError, match=rf"{KERNELS_VARIABLE} is '.*no\.so'.*unset it"):
        open_session()


def test_a_file_that_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("text")
    monkeypatch.setenv(KERNELS_VARIABLE, str(tmp_path / "text.so"))
    folder = write_toy(tmp_path / "engine", target="ort-cpu")
    with pytest.raises(EngineError, match=r"text\.so: cannot be loaded: .*; reinstall deltaport"):
        Engine.open(folder)


def test_a_library_that_has_no_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, str(onnxruntime_library()))
    folder = write_toy(tmp_path / "engine", target="ort-cpu")
    with pytest.raises(EngineError, match="not deltaport's kernels; name ort_kernels"):
        Engine.open(folder)


def test_an_onnxruntime_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine")
    for library, message in (
        (tmp_path / "no.so", rf"{ONNXRUNTIME_VARIABLE} is '.*no\.so'.*unset it"),
        (folder / "manifest.json", r"manifest\.json: cannot be loaded: "),
        (kernel_library(), "not ONNX Runtime: it has no OrtGetApiBase"),
    ):
        monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(library))
        with pytest.raises(EngineError, match=message):
            Engine.open(folder)


def test_an_onnxruntime_without_the_interface_is_refused() -> None:
    create_status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)
    version = ctypes.CFUNCTYPE(ctypes.c_void_p)
    messages: list[bytes] = []

    def remember(code: int, message: bytes) -> int:
        assert code == 1
        messages.append(message)
        return 1

    functions = create_status(remember)
    table = (ctypes.c_void_p * 1)(ctypes.cast(functions, ctypes.c_void_p))
    get = get_api(lambda asked: ctypes.addressof(table) if asked == 1 else None)
    text = ctypes.create_string_buffer(b"1.5.0")
    name = version(lambda: ctypes.addressof(text))
    base = (ctypes.c_void_p * 2)(*(ctypes.cast(each, ctypes.c_void_p) for each in (get, name)))

    library = ctypes.CDLL(str(kernel_library()))
    library.RegisterCustomOps.restype = ctypes.c_void_p
    assert library.RegisterCustomOps(None, ctypes.byref(base)) == 1
    assert messages == [
        b"ONNX Runtime 1.5.0 has no interface of version 21, which deltaport's kernels need; "
        b"install onnxruntime 1.24 or a later 1.x"
    ]
