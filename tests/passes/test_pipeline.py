"""Pipelines run passes in order, report each, and are the text they print as."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import onnx_ir as ir
import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.clean.eliminate_identities import EliminateIdentities
from deltaport.graph_passes.fold.fold_constants import FoldConstants
from deltaport.graph_passes.graph_pass import GraphPass, PreconditionError
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.pipeline import PassRun, Pipeline, default_pipeline, parse_pipeline
from deltaport.graph_passes.target_capabilities import TARGETS, TargetCapabilities
from tests.passes.graph_text import lines, parse_graph, print_graph

GRAPH = """g (float[N] x) => (float[N] y) {
    dead = Neg(x)
    a = Identity(x)
    one = Constant<value_float = 1.0>()
    y = Add(a, one)
}"""
TEXT = "eliminate-identities,eliminate-dead-code,fold-constants{max-bytes=64},fold-norm-offset"


@dataclass(frozen=True)
class Raise(GraphPass):
    """Raises what it was given."""

    name = "raise"

    error: Any = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise self.error


def run(pipeline: Pipeline, text: str = GRAPH) -> tuple[ir.passes.PassResult, list[PassRun]]:
    runs: list[PassRun] = []
    result = pipeline(parse_graph(text), after=lambda run, _: runs.append(run))
    return result, runs


def test_passes_run_in_order() -> None:
    result, runs = run(parse_pipeline(TEXT))
    assert result.modified
    [node] = result.model.graph
    assert print_graph(result.model.graph) == f"y = Add(x, {node.inputs[1].name})"
    assert [(each.text, each.nodes_before, each.nodes_after, each.modified) for each in runs] == [
        ("eliminate-identities", 4, 3, True),
        ("eliminate-dead-code", 3, 2, True),
        ("fold-constants{max-bytes=64}", 2, 1, True),
        ("fold-norm-offset", 1, 1, False),
    ]


def test_the_time_of_a_pass_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 20.0, 22.0])
    time = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("deltaport.graph_passes.pipeline.time", time)
    _, runs = run(parse_pipeline("eliminate-identities,eliminate-dead-code"))
    assert [each.seconds for each in runs] == [0.5, 2.0]


def test_the_graph_can_be_seen_after_each_pass() -> None:
    seen: list[str] = []
    model = parse_graph(GRAPH)

    def look(run: PassRun, found: ir.Model) -> None:
        assert found is model
        seen.append(" ".join(node.op_type for node in found.graph))

    parse_pipeline(TEXT)(model, after=look)
    assert seen == ["Neg Constant Add", "Constant Add", "Add", "Add"]


def test_nothing_changes_nothing() -> None:
    result, runs = run(parse_pipeline("fold-norm-offset,eliminate-common-subexpressions"))
    assert not result.modified
    assert [each.modified for each in runs] == [False, False]
    result, runs = run(parse_pipeline(""))
    assert (result.modified, runs) == (False, [])
    assert print_graph(result.model.graph) == print_graph(parse_graph(GRAPH).graph)


def test_one_change_is_a_change_whatever_follows() -> None:
    result, _ = run(parse_pipeline("eliminate-identities,fold-norm-offset"))
    assert result.modified


def test_without_anybody_watching() -> None:
    model = parse_graph(GRAPH)
    assert parse_pipeline(TEXT)(model).model is model
    assert len(model.graph) == 1


@pytest.mark.parametrize(
    "error", [PassError("of ours"), ValueError("of a library"), KeyboardInterrupt()], ids=repr
)
def test_an_error_leaves_as_it_was_raised(error: BaseException) -> None:
    pipeline = Pipeline((EliminateIdentities(), Raise(error), EliminateDeadCode()))
    model, runs = parse_graph(GRAPH), list[PassRun]()
    with pytest.raises(type(error)) as caught:
        pipeline(model, after=lambda run, _: runs.append(run))
    assert caught.value is error
    assert [each.text for each in runs] == ["eliminate-identities"]
    assert print_graph(model.graph).count("Neg") == 1, "what follows does not run"


def test_so_does_a_broken_precondition() -> None:
    model = parse_graph(GRAPH, opset=23)
    with pytest.raises(PreconditionError, match="attach-function-bodies: graph is opset 23"):
        Pipeline((AttachFunctionBodies(), EliminateIdentities()))(model)
    assert len(model.graph) == 4


@pytest.mark.parametrize("count", range(6))
def test_a_prefix_is_the_first_passes(count: int) -> None:
    pipeline = parse_pipeline(TEXT)
    prefix = pipeline.prefix(count)
    assert list(prefix) == list(pipeline)[:count]
    assert len(prefix) == min(count, 4)
    assert prefix.text == ",".join(TEXT.split(",")[:count])


def test_prefixes_lead_from_one_graph_to_the_next() -> None:
    graphs = [print_graph(run(parse_pipeline(TEXT).prefix(i))[0].model.graph) for i in range(5)]
    assert len(set(graphs)) == 4
    assert graphs[1] == lines(
        """dead = Neg(x)
        one = Constant() value_float=1.0
        y = Add(x, one)"""
    )


def test_a_pipeline_is_its_passes() -> None:
    passes = (FoldConstants(max_bytes=1), EliminateDeadCode(), FoldConstants())
    pipeline = Pipeline(passes)
    assert pipeline.text == "fold-constants{max-bytes=1},eliminate-dead-code,fold-constants"
    assert pipeline == parse_pipeline(pipeline.text)
    assert tuple(pipeline) == passes
    assert pipeline != Pipeline(passes[:2])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_default_pipeline_prints_and_parses_back_to_itself(target: TargetCapabilities) -> None:
    pipeline = default_pipeline(target)
    assert parse_pipeline(pipeline.text) == pipeline
    assert parse_pipeline(pipeline.text).text == pipeline.text


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_default_pipeline_checks_lowers_and_checks_again(target: TargetCapabilities) -> None:
    names = [each.name for each in default_pipeline(target)]
    assert names[:2] == ["verify-graph", "verify-state-layout"]
    assert names[-3:] == ["verify-graph", "verify-state-layout", "verify-in-place-safety"]
    assert target.lowering in default_pipeline(target).text
    fusing = [i for i, name in enumerate(names) if name.startswith("fuse-")]
    folding = [i for i, name in enumerate(names) if name.startswith("fold-")]
    assert max(folding) < min(fusing)


def test_all_targets_fuse_alike() -> None:
    texts = [default_pipeline(target).text for target in TARGETS.values()]
    lowerings = [target.lowering for target in TARGETS.values()]
    before = {text.partition(f",{low}")[0] for text, low in zip(texts, lowerings, strict=True)}
    assert len(before) == 1
