"""Which state a model of a given specification carries."""

from __future__ import annotations

from deltaport.exporter.model_spec import ModelSpec
from deltaport.state_layout import CAPACITY, SLOTS, StateKind, StateLayout, StateTensor

__all__ = ["state_layout_of_spec"]


def state_layout_of_spec(spec: ModelSpec) -> StateLayout:
    """One row per state tensor, in the order the decoder takes and returns them.

    The updates are those of the ops' function bodies: caches and convolution windows are written
    only after everything that reads them; the recurrent state is read and written inside one
    ``If`` or ``Scan``, where ONNX Runtime orders freely, so it needs two buffers.
    """
    attention, linear = spec.attention, spec.linear_attention
    cache = (SLOTS, attention.num_key_value_heads, CAPACITY, attention.head_dim)
    window = (SLOTS, linear.conv_kernel_size - 1, linear.conv_dim)
    matrix = (SLOTS, linear.num_value_heads, linear.key_head_dim, linear.value_head_dim)

    rows: list[StateTensor] = []

    def add(layer: int, kind: StateKind, part: str, shape: tuple[int | str, ...]) -> None:
        rows.append(
            StateTensor(
                layer=layer,
                kind=kind,
                input=f"past.{layer}.{part}",
                output=f"present.{layer}.{part}",
                shape=shape,
                dtype="float32",
                update="swap" if kind == "recurrent" else "in_place",
                rewindable=kind == "kv",
            )
        )

    for layer, kind in enumerate(spec.layer_kinds):
        if kind == "full_attention":
            add(layer, "kv", "key", cache)
            add(layer, "kv", "value", cache)
        else:
            add(layer, "conv", "conv", window)
            add(layer, "recurrent", "recurrent", matrix)
    return StateLayout(tuple(rows))
