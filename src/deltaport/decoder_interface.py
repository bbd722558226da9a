"""Names and shapes of what every decoder graph takes and gives besides its state."""

__all__ = ["LOGITS", "STEP_INPUTS"]

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
