"""What an exported folder is worth without deltaport: plain ONNX, reproducible, as stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from deltaport.exporter.export import StorageDtype, export_checkpoint
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import open_package
from deltaport.runtime import Engine
from tests.end_to_end.command import deltaport
from tests.greedy import greedy
from tests.parity.oracle import Oracle

PROMPT = np.random.default_rng(5).integers(0, 300, 70).tolist()


def test_the_graph_passes_the_checker(engine: Path) -> None:
    onnx.checker.check_model(str(engine / "decoder.onnx"), full_check=True)
    model = onnx.load(str(engine / "decoder.onnx"), load_external_data=False)
    domains = {opset.domain for opset in model.opset_import}
    assert domains == {"", "ai.deltaport"}
    assert {function.name for function in model.functions} == {
        "CausalConv1d", "GatedDeltaRuleNorm", "GatedAttention", "SharedExpertMoE", "AddRMSNorm",
    }  # fmt: skip


def test_plain_onnxruntime_runs_it(engine: Path) -> None:
    """No library of ours, no bound buffers, nothing but the interface that is documented."""
    session = ort.InferenceSession(str(engine / "decoder.onnx"))
    n, capacity = len(PROMPT), 80
    feeds = {
        "input_ids": np.array([PROMPT]),
        "positions": np.broadcast_to(np.arange(n), (3, 1, n)).copy(),
        "lengths": np.array([n]),
        "past_lengths": np.array([0]),
        "logit_index": np.arange(n),
    }
    for tensor in open_package(engine).state:
        feeds[tensor.input] = np.zeros(tensor.concrete_shape(1, capacity), np.float32)
    plain = session.run(["logits"], feeds)[0]
    (ours,) = Engine.open(engine).session().prefill([PROMPT], logits="all")
    np.testing.assert_array_equal(plain, ours)


def test_exporting_twice_gives_the_same_bytes(
    engine: Path, checkpoint: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    assert deltaport("export", checkpoint, "-o", again).returncode == 0
    names = sorted(path.name for path in engine.iterdir())
    assert sorted(path.name for path in again.iterdir()) == names
    for name in names:
        assert (again / name).read_bytes() == (engine / name).read_bytes(), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_storage_rounds_matrices_and_nothing_else(
    engine: Path, checkpoint: Path, tmp_path: Path, dtype: StorageDtype
) -> None:
    export_checkpoint(checkpoint, tmp_path / "engine", dtype=dtype)
    sizes = [(f / "decoder.onnx.data").stat().st_size for f in (tmp_path / "engine", engine)]
    assert sizes[0] < 0.75 * sizes[1]  # padding to pages is most of what little is left

    oracle = Oracle(checkpoint)
    narrow = getattr(torch, dtype)
    for name, parameter in oracle.model.named_parameters():
        if parameter.ndim >= 2 and "conv1d" not in name:
            parameter.data = parameter.data.to(narrow).float()
    reference = oracle.run(PROMPT)
    session = Engine.open(tmp_path / "engine").session()
    (logits,) = session.prefill([PROMPT], logits="all")
    assert logits is not None
    assert relative_error(logits, reference.logits) <= tolerance(Quantity.LOGITS)
    (tokens,) = greedy(session, new=len(reference.greedy), stop=())
    assert tokens == reference.greedy
