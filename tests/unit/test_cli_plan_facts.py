"""What ``inspect`` says of engines with a plan: its layers, and the memory it was built for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deltaport.cli import memory_facts
from deltaport.cli.facts import gather
from deltaport.cli.memory_facts import Demand
from deltaport.errors import InputError
from deltaport.graph_passes.target_capabilities import target_named
from deltaport.package import Plan
from deltaport.package.plan_layers import LAYERS_NAME, PlanLayer, PlanLayers
from deltaport.state_layout import StateLayout, StateTensor
from tests.end_to_end.command import error_line, in_process
from tests.unit.test_write_package import write

FORMATS = ("Row major linear BF16 format (kLINEAR)", "Float", "N/A due to dynamic shapes")
LAYERS = PlanLayers(
    {
        "decode": (
            PlanLayer("first", "gemm", FORMATS[:1], ("a", "b"), "kernel"),
            PlanLayer("second", "kgen", FORMATS, ("c",), ""),
            PlanLayer("\x1b[31mthird", "gemm", FORMATS[:1], ("b",), ""),
        ),
        "prefill": (),
    }
)
CACHE = StateTensor(0, "kv", "k", "p", ("slots", 2, "capacity", 4), "bfloat16", "in_place", True)


def engine(folder: Path, *, gpu: str = "this", layers: PlanLayers | None = LAYERS) -> Path:
    """One with a plan for 3 sequences of 1,000 tokens, of a model that takes 32,768."""

    def build(inside: Path) -> Plan:
        (inside / "decoder.plan").write_bytes(b"a plan")
        if layers is not None:
            (inside / LAYERS_NAME).write_text(layers.to_json())
        return Plan("decoder.plan", "TensorRT 11.4.0", gpu, 3, 500, 1000)

    to, target = folder / "engine", target_named("tensorrt-plain")
    write(to, target=target, dtype="bfloat16", layout=StateLayout((CACHE,)), build=build)
    return to


def facts(folder: Path, **options: Any) -> Any:
    return gather(folder, **options)["engine"]["plan_layers"]


def test_layers_are_counted_by_kind(tmp_path: Path) -> None:
    found = facts(engine(tmp_path))
    assert found["untold"] == ""
    decode, prefill = found["steps"]
    assert decode == {
        "step": "decode",
        "kinds": [
            {"kind": "gemm", "layers": 2, "nodes": 2, "outputs": {"bfloat16": 2}},
            {
                "kind": "kgen",
                "layers": 1,
                "nodes": 1,
                "outputs": {"bfloat16": 1, "float32": 1, "unknown": 1},
            },
        ],
    }
    assert prefill == {"step": "prefill", "kinds": []}


def test_every_layer_on_demand(tmp_path: Path) -> None:
    decode = facts(engine(tmp_path), layers=True)["steps"][0]
    assert decode["layers"][0] == {
        "name": "first",
        "kind": "gemm",
        "outputs": ["bfloat16"],
        "nodes": ["a", "b"],
        "tactic": "kernel",
    }
    assert len(decode["layers"]) == 3


def test_tables_of_layers(tmp_path: Path) -> None:
    folder = engine(tmp_path)
    shown = in_process("inspect", folder).stdout
    assert "3 layers of decode: kind, dtypes of outputs, layers, nodes of the graph" in shown
    assert "gemm  2 bfloat16                        2  2\n" in shown
    shown = in_process("inspect", folder, "--layers").stdout
    assert "kgen  bfloat16, float32, unknown  1  second\n" in shown
    assert "gemm  bfloat16                    1  \\x1b[31mthird\n\ngraph" in shown


@pytest.mark.parametrize(
    ("gpu", "layers", "why"),
    [
        ("sm89", None, "known only where a plan is built on the GPU it is for"),
        ("this", None, "not told when the plan was built"),
        ("this", PlanLayers({}, "no\nmemory"), "not told by TensorRT: no\\nmemory"),
    ],
)
def test_why_there_are_none(gpu: str, layers: PlanLayers | None, why: str, tmp_path: Path) -> None:
    folder = engine(tmp_path, gpu=gpu, layers=layers)
    assert f"  layers    {why}\n" in in_process("inspect", folder).stdout
    line = error_line(in_process("inspect", folder, "--layers"))
    assert line == f"error: --layers: {folder}: layers are {why}"


def test_layers_of_what_has_no_plan(tmp_path: Path) -> None:
    write(tmp_path / "engine")
    assert facts(tmp_path / "engine") is None
    with pytest.raises(InputError, match=r"--layers: .*engine has no plan of TensorRT's"):
        facts(tmp_path / "engine", layers=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"--layers: .*config\.json is no engine"):
        facts(tmp_path / "config.json", layers=True)


def test_memory_is_what_the_plan_was_built_for(tmp_path: Path) -> None:
    folder = engine(tmp_path)
    found = gather(folder)
    memory, row = found["memory"], 2 * 4 * 2  # two heads of 4, two bytes each
    assert (memory["sequences"], memory["context"], memory["reserved"]) == (3, 1000, True)
    assert memory["state"]["kv"] == 3 * 1000 * row
    assert memory["weights"] == sum(each["bytes"] for each in found["roles"])
    assert not memory["widened"]
    assert memory["available"] is None, "that of a GPU"
    few = gather(folder, demand=Demand(context=10, sequences=2))["memory"]
    assert few["state"]["kv"] == 2 * 1000 * row
    assert (
        "memory for 3 sequences, with room for 1,000 tokens each"
        in in_process("inspect", folder).stdout
    )


def test_sequences_may_be_more_than_decode_together(tmp_path: Path) -> None:
    assert gather(engine(tmp_path), demand=Demand(sequences=7))["memory"]["sequences"] == 7


def test_more_tokens_than_the_plan_was_built_for(tmp_path: Path) -> None:
    message = "--context 1001: .* takes 1 to 1000 tokens; pass a lower one"
    with pytest.raises(InputError, match=message):
        gather(engine(tmp_path), demand=Demand(context=1001))


def test_a_graph_without_a_plan_has_no_settled_memory(tmp_path: Path) -> None:
    write(tmp_path / "engine", target=target_named("tensorrt-plain"), dtype="bfloat16")
    memory = gather(tmp_path / "engine")["memory"]
    assert (memory["sequences"], memory["context"], memory["reserved"]) == (1, 4096, False)
    assert not memory["widened"]
    assert memory["available"] == pytest.approx(memory_facts._available_bytes(), rel=0.5)
