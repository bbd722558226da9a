"""Names and shapes of what every decoder graph takes and gives besides its state."""

__all__ = ["LOGITS", "STEP_INPUTS", "tap_names"]

STEP_INPUTS: dict[str, tuple[int | str, ...]] = {
    "input_ids": ("batch", "tokens"),
    "positions": (3, "batch", "tokens"),
    "lengths": ("batch",),
    "past_lengths": ("batch",),
    "logit_index": ("rows",),
}
"""The int64 inputs, in graph order. Names stand for sizes a step chooses."""

LOGITS = "logits"
"""The float32 output [rows, vocabulary]; it comes first."""


def tap_names(num_layers: int) -> list[str]:
    """Names of the residual stream, [batch, tokens, hidden], on its way through the graph.

    After the embedding, and in every layer after its mixer and after its feed-forward. They are
    values inside the graph, in the dtype the engine computes in, not outputs: whoever wants to look
    adds those it needs as outputs.
    """
    layers = range(num_layers)
    return ["embedded", *(f"layers.{i}.{part}" for i in layers for part in ("mixed", "output"))]
