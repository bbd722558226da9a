"""``deltaport verify --passes-prefix``: bisecting the passes of an engine."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from deltaport.graph_passes.fold.fold_norm_offset import FoldNormOffset
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.package import open_package
from tests.checkpoints import CORPUS
from tests.end_to_end.command import error_line, in_process
from tests.end_to_end.engine_surgery import change_weight

PORTABLE = default_pipeline(TARGETS["portable"])
BRIEF = ("--text", CORPUS[0], "-n", "2", "--oracle", "eager", "--threads", "1", "-q")
VERIFY = importlib.import_module("deltaport.verify.verify_engine")
"""The module, which the function of that name hides."""
FOLDED = [found.name for found in PORTABLE].index("fold-norm-offset") + 1


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from threads, and lose much where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def verified(engine: Path, checkpoint: Path, count: int, *, status: int = 0) -> dict[str, Any]:
    arguments = ["--against", checkpoint, "--json", "--passes-prefix", f"{count}", *BRIEF]
    result = in_process("verify", engine, *arguments)
    assert (result.returncode, result.stderr) == (status, ""), result
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("count", [0, FOLDED, len(PORTABLE)])
def test_every_prefix_of_a_sound_pipeline_is_equal(
    engine: Path, checkpoint: Path, temporary: Path, count: int
) -> None:
    report = verified(engine, checkpoint, count)
    assert report["equal"]
    assert report["engine"] == str(engine)
    assert list(temporary.iterdir()) == []
    first = [found.name for found in PORTABLE][:count]
    bodies = [] if "attach-function-bodies" in first else ["attach-function-bodies"]
    assert report["passes_prefix"] == {
        "count": count,
        "of": len(PORTABLE),
        "pipeline": ",".join([*first, *bodies]),
        "quantizes": False,
    }


def test_the_pass_that_breaks_it_is_found(
    engine: Path, checkpoint: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that folds a norm's offset and forgets to add it: wrong from there on, not before."""

    def forget(_: FoldNormOffset, model: ir.Model) -> ir.passes.PassResult:
        for node in list(model.graph):
            if node.op_type == "Add" and "layernorm" in f"{node.inputs[0].name}":  # type: ignore[union-attr]
                ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
                model.graph.remove(node, safe=True)
        return ir.passes.PassResult(model, modified=True)

    monkeypatch.setattr(FoldNormOffset, "call", forget)
    assert verified(engine, checkpoint, FOLDED - 1)["equal"]
    assert not verified(engine, checkpoint, FOLDED, status=3)["equal"]
    assert list(temporary.iterdir()) == []


def test_the_engine_itself_is_not_what_runs(altered: Path, checkpoint: Path) -> None:
    change_weight(altered, "model.embed_tokens.weight", lambda values: values.fill(0.5))
    options = ("verify", altered, "--against", checkpoint, *BRIEF)
    assert in_process(*options).returncode == 3
    result = in_process(*options, "--passes-prefix", "2")
    assert result.returncode == 0
    passes = "verify-graph,verify-state-layout,attach-function-bodies"
    assert f"\n  passes        the first 2 of {len(PORTABLE)}: {passes}\n" in result.stdout
    assert json.loads(in_process(*options, "--json").stdout)["passes_prefix"] is None


def test_it_is_stored_as_the_engine_is(
    single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = []

    def keep(folder: Path, **options: Any) -> Any:
        if "deltaport-" in str(folder):
            exported.append(open_package(folder, **options))
        return open_package(folder, **options)

    engine = tmp_path / "engine"
    made = in_process("export", single_layer, "-o", engine, "--dtype", "float16", "-q")
    assert made.returncode == 0
    monkeypatch.setattr(VERIFY, "open_package", keep)
    arguments = ["--against", single_layer, "--passes-prefix", "3", "--ids", "1,2,3", *BRIEF[2:]]
    assert in_process("verify", engine, *arguments).returncode == 0
    assert [(manifest.dtype, manifest.target) for manifest in exported] == [("float16", "portable")]


@pytest.mark.parametrize(
    ("module", "name"),
    [("exporter.write_package", "write_package"), ("verify.verify_engine", "run_engine")],
)
def test_ctrl_c_leaves_nothing(
    engine: Path,
    checkpoint: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
) -> None:
    there = []

    def interrupt(*_: object, **__: object) -> None:
        there.extend(path.name for path in temporary.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"deltaport.{module}"), name, interrupt)
    arguments = ["--against", checkpoint, "--passes-prefix", "1", *BRIEF]
    result = in_process("verify", engine, *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert [name.startswith("deltaport-") for name in there] == [True]
    assert list(temporary.iterdir()) == []


def test_more_passes_than_there_are(engine: Path, checkpoint: Path) -> None:
    most = len(PORTABLE)
    arguments = ["verify", engine, "--against", checkpoint, "-q", "--passes-prefix"]
    line = error_line(in_process(*arguments, f"{most + 1}"))
    assert line.startswith(f"error: --passes-prefix {most + 1}: target portable has {most} passes;")
    assert "-1 is not in the range x>=0" in error_line(in_process(*arguments, "-1"))


def test_a_target_nobody_knows(altered: Path, checkpoint: Path) -> None:
    path = altered / "manifest.json"
    path.write_text(path.read_text().replace('"target": "portable"', '"target": "abacus"'))
    arguments = ["--against", checkpoint, "-q", "--passes-prefix", "1"]
    line = error_line(in_process("verify", shutil.move(altered, f"{altered}.2"), *arguments))
    assert "abacus: unknown target; choose one of portable" in line
