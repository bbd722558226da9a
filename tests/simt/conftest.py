"""The kernels for GPUs compiled for the host, once for all tests."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import ml_dtypes  # noqa: F401 NumPy knows bfloat16 by it
import pytest

from tests.end_to_end.cpp_programs import ROOT, succeed


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("simt") / "on_host.so"
    source: Path = ROOT / "custom_ops" / "simt" / "on_host.cc"
    options = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
    include = f"-I{ROOT / 'custom_ops'}"
    compiler = os.environ.get("CXX", "c++")
    succeed(compiler, *options, "-shared", "-fPIC", include, source, "-o", library)
    return ctypes.CDLL(str(library))
