"""The adapter and its mock host, compiled once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.cpp_programs import ROOT
from tests.gpu import PLACES, Place, require_gpu
from tests.made_once import made_once
from tests.simt.fake_gpu import compile_for_host, fake_driver
from tests.tensorrt.cuda_library import build_cuda_library
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.fakes.stubs import stubs
from tests.tensorrt.headers import include_folder
from tests.tensorrt.mock_host import Library, MockHost
from tools.gpu_kernels.driver import Device, Driver

HERE = Path(__file__).parent
ADAPTER = ROOT / "custom_ops" / "tensorrt_adapter"


def compile_library(to: Path, *sources: Path, options: tuple[str, ...] = ()) -> Path:
    includes = (f"-I{ROOT / 'runtime' / 'src'}", f"-I{HERE / 'fakes'}")
    headers = ("-isystem", str(include_folder()))
    return compile_for_host(to, *sources, options=("-O1", *includes, *headers, *options))


def compile_adapter(to: Path, *sources: Path, libraries: tuple[str, ...] = ()) -> Path:
    """As CMake builds it, but for hosts."""
    exported = f"-Wl,--version-script={ADAPTER / 'library.map'},--no-undefined"
    isa = ("-DDELTAPORT_ISA=cuda", "-DDELTAPORT_SIMT=")
    options = ("-fvisibility=hidden", exported, *isa, *libraries)
    return compile_library(to, *sources, options=options)


@pytest.fixture(scope="session")
def fake_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> FakeTensorRt:
    """TensorRT and CUDA as fakes, and our library built upon them."""
    folder, fakes = tmp_path_factory.mktemp("fake_tensorrt"), HERE / "fakes"
    (folder / "stubs.h").write_text(stubs(include_folder()))
    cuda = compile_library(folder / "libfake_cuda.so", fakes / "cuda.cc")
    upon = ("-isystem", str(folder), str(cuda))
    tensorrt = compile_library(folder / "libnvinfer.so.11", fakes / "tensorrt.cc", options=upon)
    sources = (*(ROOT / "runtime" / "tensorrt").glob("*.cc"), fakes / "no_plugins.cc")
    ours = folder / "libdeltaport_tensorrt.so"
    compile_adapter(ours, *sources, libraries=(str(cuda),))
    return FakeTensorRt(tensorrt, ours, cuda)


@pytest.fixture(scope="session")
def host(compiled: Path) -> MockHost:
    library = made_once(
        compiled / "mock_host.so", lambda to: compile_library(to, HERE / "mock_host.cc")
    )
    return MockHost(library)


@pytest.fixture(scope="session", params=PLACES)
def adapter(
    request: pytest.FixtureRequest,
    host: MockHost,
    compiled: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Library:
    """The library of our ops, and the memory of where its kernels run."""
    if Place(request.param) is Place.GPU:
        architecture = require_gpu().architecture.removeprefix("sm_")
        folder = tmp_path_factory.mktemp("adapter")
        return host.load(build_cuda_library(folder, architecture), Device(Driver()))
    driver = str(fake_driver(compiled))
    sources = (*ADAPTER.glob("*.cc"), *ADAPTER.parent.glob("kernels/*/cuda.cu"))
    library = made_once(
        compiled / "adapter.so", lambda to: compile_adapter(to, *sources, libraries=(driver,))
    )
    return host.load(library, Device(Driver(driver)))


@pytest.fixture(scope="session")
def example(host: MockHost, compiled: Path) -> Library:
    """A library of the op in example_op.cc alone."""
    own = {"ops.cc", "causal_conv1d.cc", "gated_delta_rule.cc"}
    own |= {"mixture.cc", "sparse_moe.cc", "quantized_moe.cc"}
    shared = [source for source in ADAPTER.glob("*.cc") if source.name not in own]
    driver = str(fake_driver(compiled))
    sources = (*shared, HERE / "example_op.cc")
    library = made_once(
        compiled / "example.so", lambda to: compile_adapter(to, *sources, libraries=(driver,))
    )
    return host.load(library, Device(Driver(driver)))


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as users build it, with kernels for one architecture."""
    return build_cuda_library(tmp_path_factory.mktemp("cuda"), "89")
