"""How many nodes a layer takes, by kind."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.decoder_interface import tap_names
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.rewriting import is_op

__all__ = ["ATTENTION", "DELTA_RULE", "FEED_FORWARD", "ONCE", "NodeCount", "node_counts"]

DELTA_RULE, ATTENTION = "delta-rule layer", "attention layer"
FEED_FORWARD = "feed-forward"
ONCE = "once a step"
"""What all layers share, and what comes before and after them."""

_TAP = re.compile(r"layers\.(\d+)\.(mixed|output)")

_Section = tuple[int, int]
"""Layer, and 0 for its mixer or 1 for its feed-forward."""


@dataclass(frozen=True)
class NodeCount:
    """Nodes of one layer of a kind, of the largest one where they differ, by whose ops they are."""

    layers: int
    ours: int
    other: int

    @property
    def total(self) -> int:
        """All nodes."""
        return self.ours + self.other


def node_counts(model: ir.Model) -> dict[str, NodeCount]:
    """Counts by kind of layer: a mixer with its norm, and its feed-forward with its own.

    A node belongs to the part of the network whose activations it reads: those that follow from one
    value of the residual stream and lead to the next. An addition that is fused with a norm counts
    for the part it ends. What prepares weights and shapes counts for the part that alone
    reads it.
    """
    sections = _activations(model.graph)
    for node in reversed(list(model.graph)):
        if sections[node] is None and _is_preparation(node):
            readers = {sections.get(use.node) for out in node.outputs for use in out.uses()}
            sections[node] = readers.pop() if len(readers) == 1 else None
    counts: dict[_Section | None, Counter[bool]] = {}
    for node, section in sections.items():
        counts.setdefault(section, Counter())[node.domain == DOMAIN] += 1
    return _by_kind(counts, _mixers(model))


def _activations(graph: ir.Graph) -> dict[ir.Node, _Section | None]:
    """Every node with the section whose activations it reads, None for no section's."""
    sections: dict[ir.Node, _Section | None] = {}
    section_of: dict[ir.Value, _Section] = {}
    last = _last_section(graph)
    for node in graph:
        read = [section_of[value] for value in node.inputs if value in section_of]
        section = max(read, default=None)
        sections[node] = section if section is not None and section <= last else None
        begun = [following for output in node.outputs if (following := _begins(output))]
        after = begun[0] if begun else section
        if after is not None:
            section_of.update(dict.fromkeys(node.outputs, after))
    return sections


def _is_preparation(node: ir.Node) -> bool:
    """Whether it depends on weights, constants and sizes alone."""
    pending, seen = [node], {node}
    while pending:
        found = pending.pop()
        for value in () if is_op(found, "Shape") else found.inputs:
            maker = None if value is None else value.producer()
            if value is not None and maker is None and not value.is_initializer():
                return False
            if maker is not None and maker not in seen:
                seen.add(maker)
                pending.append(maker)
    return True


def _last_section(graph: ir.Graph) -> _Section:
    names = {output.name for node in graph for output in node.outputs}
    layers = 0
    while set(tap_names(layers + 1)) <= names:
        layers += 1
    return layers - 1, 1


def _begins(value: ir.Value) -> _Section | None:
    """The section whose first input ``value`` is."""
    name = value.name or ""
    if name == tap_names(0)[0]:
        return 0, 0
    tap = _TAP.fullmatch(name)
    if tap is None:
        return None
    layer = int(tap[1])
    return (layer, 1) if tap[2] == "mixed" else (layer + 1, 0)


def _mixers(model: ir.Model) -> dict[int, str]:
    return {
        tensor.layer: ATTENTION if tensor.kind == "kv" else DELTA_RULE
        for tensor in layout_of(model)
    }


def _by_kind(
    counts: dict[_Section | None, Counter[bool]], mixers: dict[int, str]
) -> dict[str, NodeCount]:
    found: dict[str, list[Counter[bool]]] = {DELTA_RULE: [], ATTENTION: [], FEED_FORWARD: []}
    found[ONCE] = [counts.pop(None, Counter())]
    for section, count in counts.items():
        assert section is not None, "what belongs to no section was taken out"
        found[FEED_FORWARD if section[1] else mixers[section[0]]].append(count)
    return {
        kind: NodeCount(len(each), ours=largest[True], other=largest[False])
        for kind, each in found.items()
        if each and (largest := max(each, key=Counter.total)) is not None
    }
