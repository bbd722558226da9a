"""The kernels' library as ``make gpu-check`` builds it: what may be asked of it without a GPU."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from tests.tensorrt.headers import missing
from tests.tensorrt.mock_host import Library
from tests.tensorrt.test_plugins import tensors
from tools.gpu_kernels.arguments import Mixture
from tools.gpu_kernels.kernel_library import build_for_gpu


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("nvcc") is None:
        missing("there is no nvcc, the compiler of CUDA 13")
    path = build_for_gpu(tmp_path_factory.mktemp("cuda") / "kernels.so", (8, 9))
    return ctypes.CDLL(str(path))


ENTRIES = (
    *(
        f"{kernel}_{dtype}"
        for kernel in ("causal_conv1d", "gated_delta_steps", "gated_delta_chunks")
        for dtype in ("float32", "bfloat16", "float16")
    ),
    *("sparse_moe", "tile_product", "mma_m16n8k8", "round_tf32"),
    *("narrow_bfloat16", "narrow_float16"),
)


@pytest.mark.parametrize("name", ENTRIES)
def test_it_has_the_kernels_that_are_tested_on_hosts(library: ctypes.CDLL, name: str) -> None:
    assert getattr(library, name)


def test_workspaces_are_those_of_plugins(library: ctypes.CDLL, adapter: Library) -> None:
    sizes = {"B": 3, "T": 5, "H": 64, "E": 9, "I": 8, "Is": 7}
    given = tensors("SharedExpertMoE", "float32", **sizes)
    expected = adapter.plugin("SharedExpertMoE").workspace(given, [shape for _, shape in given])
    arguments = Mixture(rows=3, tokens=5, hidden=64, experts=9, inner=8, top_k=2, shared_inner=7)
    library.sparse_moe_workspace.restype = ctypes.c_int64
    assert library.sparse_moe_workspace(ctypes.byref(arguments)) == expected > 0


def test_a_call_without_a_kernel_says_so(library: ctypes.CDLL) -> None:
    library.sparse_moe.restype = ctypes.c_char_p
    arguments = Mixture(rows=1, tokens=1, experts=4, top_k=5)
    assert library.sparse_moe(ctypes.byref(arguments), None, None) == b"invalid argument"
