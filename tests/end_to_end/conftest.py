"""What is slow to make, once for all tests: an export, and a build of libdeltaport."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deltaport.runtime.kernel_library import kernel_library
from deltaport.runtime.onnxruntime_library import onnxruntime_library
from tests.checkpoints import save_checkpoint
from tests.end_to_end.c_layer import load
from tests.end_to_end.command import deltaport
from tests.end_to_end.cpp_programs import ROOT, build, succeed
from tests.runtime.toy_engine import write_toy


@dataclass(frozen=True)
class Exported:
    folder: Path
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts in four layers, with a tokenizer and tensors nobody exports."""
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    return save_checkpoint(folder, kind="moe", wrapped=True, mtp_tensors=2, tokenizer=True)


@pytest.fixture(scope="session")
def single_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that is quickest to export."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    return save_checkpoint(
        folder, kind="dense", num_hidden_layers=1, layer_types=["full_attention"]
    )


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The engine of ``checkpoint``, and what exporting it printed."""
    folder = tmp_path_factory.mktemp("exported") / "small engine"
    return Exported(folder, deltaport("export", checkpoint, "-o", folder))


@pytest.fixture(scope="session")
def engine(exported: Exported) -> Path:
    """The engine of ``checkpoint``; not to be written to."""
    assert exported.result.returncode == 0, exported.result.stderr
    return exported.folder


@pytest.fixture
def altered(engine: Path, tmp_path: Path) -> Path:
    """A copy of the engine to alter."""
    return Path(shutil.copytree(engine, tmp_path / "input" / "engine"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix where libdeltaport is installed, beside the kernels that Python's package has."""
    folder = tmp_path_factory.mktemp("libdeltaport")
    only = ("-DDELTAPORT_PYTHON=OFF", "-DDELTAPORT_NATIVE_KERNELS=OFF")
    built = build(ROOT, folder / "build", *only, "-DCMAKE_INSTALL_LIBDIR=lib")
    prefix = folder / "prefix"
    succeed("cmake", "--install", built, "--prefix", prefix)
    shutil.copy(kernel_library(), prefix / "lib" / "ort_kernels.so")
    return prefix


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy engine; not to be written to."""
    return write_toy(tmp_path_factory.mktemp("toy") / "engine")


@pytest.fixture
def library(installed: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    monkeypatch.setenv("DELTAPORT_ONNXRUNTIME", str(onnxruntime_library()))
    monkeypatch.delenv("DELTAPORT_KERNELS", raising=False)
    return load(installed)
