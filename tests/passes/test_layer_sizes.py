"""How many nodes a layer of a real checkpoint takes: within bounds, and as the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest
import torch

from deltaport.exporter.compile_graph import Compilation
from deltaport.exporter.export_plan import ExportEvents, checked, planned
from deltaport.graph_passes.node_counts import ATTENTION, DELTA_RULE, FEED_FORWARD
from deltaport.graph_passes.target_capabilities import TARGETS
from tests.checkpoints import Kind, save_checkpoint
from tests.docs.pages import page

BOUNDS = {DELTA_RULE: 8, ATTENTION: 8, FEED_FORWARD: 4}
Compile = Callable[..., Compilation]

CHECKPOINTS = {
    "dense bfloat16": ("dense", torch.bfloat16, False),
    "dense float32": ("dense", torch.float32, False),
    "dense bfloat16 with biases": ("dense", torch.bfloat16, True),
    "dense float32 with biases": ("dense", torch.float32, True),
    "moe bfloat16": ("moe", torch.bfloat16, False),
    "moe float32": ("moe", torch.float32, False),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """What the passes of ``ort-cpu`` did to the graph of a checkpoint of eight layers."""

    @cache
    def compile_one(kind: Kind, dtype: torch.dtype, bias: bool) -> Compilation:
        folder = tmp_path_factory.mktemp("counted")
        save_checkpoint(folder, kind=kind, dtype=dtype, num_hidden_layers=8, attention_bias=bias)
        with checked(folder, dtype="auto", accept_fields=()) as checkpoint:
            return planned(checkpoint, TARGETS["ort-cpu"], ExportEvents()).compilation

    return compile_one


@pytest.mark.parametrize("arguments", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_layers_stay_within_their_bounds(
    compiled: Compile, arguments: tuple[Kind, torch.dtype, bool]
) -> None:
    after = compiled(*arguments).after
    assert {kind: after[kind].layers for kind in BOUNDS} == {
        DELTA_RULE: 6,
        ATTENTION: 2,
        FEED_FORWARD: 8,
    }
    assert {kind: after[kind].total for kind in BOUNDS if after[kind].total > BOUNDS[kind]} == {}


@pytest.mark.parametrize(
    ("row", "kind", "checkpoint"),
    [
        ("delta-rule mixer", DELTA_RULE, "moe bfloat16"),
        ("attention mixer", ATTENTION, "moe bfloat16"),
        ("attention mixer with biases", ATTENTION, "dense bfloat16 with biases"),
        ("mixture of experts", FEED_FORWARD, "moe bfloat16"),
        ("MLP", FEED_FORWARD, "dense bfloat16"),
    ],
)
def test_the_page_says_what_is_measured(
    compiled: Compile, row: str, kind: str, checkpoint: str
) -> None:
    found = re.search(rf"^\| {row} \| (\d+) \| (\d+) \| (\d+) \|$", page("architecture.md"), re.M)
    assert found, row
    result = compiled(*CHECKPOINTS[checkpoint])
    measured = result.before[kind].total, result.after[kind].total, BOUNDS[kind]
    assert tuple(map(int, found.groups())) == measured


def test_the_dtype_of_the_checkpoint_does_not_matter(compiled: Compile) -> None:
    for kind in ("dense", "moe"):
        half, single = (
            compiled(*CHECKPOINTS[f"{kind} {dtype}"]).after for dtype in ("bfloat16", "float32")
        )
        assert {k: half[k].total for k in BOUNDS} == {k: single[k].total for k in BOUNDS}
