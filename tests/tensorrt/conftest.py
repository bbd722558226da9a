"""The adapter and its mock host, compiled once for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.cpp_programs import ROOT, succeed
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.fakes.stubs import stubs
from tests.tensorrt.headers import include_folder, missing, tensorrt_root
from tests.tensorrt.mock_host import Library, MockHost

HERE = Path(__file__).parent
ADAPTER = ROOT / "custom_ops" / "tensorrt_adapter"


def compile_library(to: Path, *sources: Path, options: tuple[str, ...] = ()) -> Path:
    compiler = os.environ.get("CXX", "c++")
    flags = ("-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC")
    folders = (ROOT / "custom_ops", ROOT / "runtime" / "src", HERE / "no_cuda", HERE / "fakes")
    includes = tuple(f"-I{folder}" for folder in folders)
    headers = ("-isystem", str(include_folder()))
    succeed(compiler, *flags, *includes, *headers, "-shared", *sources, *options, "-o", to)
    return to


def compile_adapter(to: Path, *sources: Path) -> Path:
    """As CMake builds it, but for hosts."""
    exported = f"-Wl,--version-script={ADAPTER / 'library.map'},--no-undefined"
    isa = ("-DDELTAPORT_ISA=simt_on_host", "-DDELTAPORT_SIMT=")
    return compile_library(to, *sources, options=("-fvisibility=hidden", exported, *isa))


@pytest.fixture(scope="session")
def fake_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> FakeTensorRt:
    """TensorRT and CUDA as fakes, and our library built upon them."""
    folder, fakes = tmp_path_factory.mktemp("fake_tensorrt"), HERE / "fakes"
    (folder / "stubs.h").write_text(stubs(include_folder()))
    cuda = compile_library(folder / "libfake_cuda.so", fakes / "cuda.cc")
    upon = ("-isystem", str(folder), str(cuda))
    tensorrt = compile_library(folder / "libnvinfer.so.11", fakes / "tensorrt.cc", options=upon)
    sources = (*(ROOT / "runtime" / "tensorrt").glob("*.cc"), fakes / "no_plugins.cc")
    ours = compile_adapter(folder / "libdeltaport_tensorrt.so", *sources, cuda)
    return FakeTensorRt(tensorrt, ours, cuda)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> MockHost:
    to = tmp_path_factory.mktemp("mock_host") / "mock_host.so"
    return MockHost(compile_library(to, HERE / "mock_host.cc"))


@pytest.fixture(scope="session")
def adapter(host: MockHost, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library of our ops, whose kernels run on the host."""
    sources = (*ADAPTER.glob("*.cc"), HERE / "launch_on_host.cc")
    return host.load(compile_adapter(tmp_path_factory.mktemp("adapter") / "adapter.so", *sources))


@pytest.fixture(scope="session")
def example(host: MockHost, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A library of the op in example_op.cc alone."""
    own = {"ops.cc", "causal_conv1d.cc", "gated_delta_rule.cc"}
    own |= {"mixture.cc", "sparse_moe.cc", "quantized_moe.cc"}
    shared = [source for source in ADAPTER.glob("*.cc") if source.name not in own]
    to = tmp_path_factory.mktemp("example") / "example.so"
    return host.load(compile_adapter(to, *shared, HERE / "example_op.cc"))


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as users build it, with kernels for one architecture."""
    root = tensorrt_root()
    if shutil.which("nvcc") is None:
        missing("there is no nvcc, the compiler of CUDA 13")
    folder = tmp_path_factory.mktemp("cuda")
    switches = ("-DDELTAPORT_PYTHON=OFF", "-DDELTAPORT_TENSORRT=ON", f"-DTENSORRT_ROOT={root}")
    succeed("cmake", "-S", ROOT, "-B", folder, *switches, "-DCMAKE_CUDA_ARCHITECTURES=89")
    succeed("cmake", "--build", folder, "--target", "deltaport_tensorrt")
    return folder / "custom_ops" / "tensorrt_adapter" / "libdeltaport_tensorrt.so"
