"""An engine of a few hundred bytes that behaves like a decoder, and the same maths in Python.

It has a key/value cache updated in place and a recurrent state that is swapped. What it says next
depends on every token so far, on each one's column in the cache, and on the position it is told:

    total[t]   = token[0] + ... + token[t]                     through the recurrent state
    places[t]  = 1 * token[0] + 2 * token[1] + ...             through the cache
    favourite  = (3 * total[t] + places[t] + 5 * t) mod POISON
    logits[v]  = -(v - favourite)^2

All of it are integers that float32 holds exactly, so results are compared for equality.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx.checker
import onnx.parser
from numpy.typing import NDArray

from deltaport.package import MANIFEST_NAME, FileEntry, Manifest
from deltaport.state_layout import StateLayout, StateTensor

__all__ = ["EOS", "LAYOUT", "MANIFEST", "POISON", "VOCAB", "toy_logits", "toy_tokens", "write_toy"]

VOCAB = 24
POISON = VOCAB - 1
"""A token id that is in range, but makes the step that reads it fail."""
EOS = 5
MAX_POSITIONS = 1200

LAYOUT = StateLayout(
    (
        StateTensor(
            layer=0,
            kind="kv",
            input="past.0.key",
            output="present.0.key",
            shape=("slots", 1, "capacity", 1),
            dtype="float32",
            update="in_place",
            rewindable=True,
        ),
        StateTensor(
            layer=1,
            kind="recurrent",
            input="past.1.recurrent",
            output="present.1.recurrent",
            shape=("slots", 1),
            dtype="float32",
            update="swap",
            rewindable=False,
        ),
    )
)

MANIFEST = Manifest(
    deltaport_version="0.1.0",
    target="portable",
    ragged=True,
    dtype="float32",
    decoder="decoder.onnx",
    vocab_size=VOCAB,
    max_positions=MAX_POSITIONS,
    eos_token_ids=(EOS,),
    op_library_version=1,
    quantization=None,
    model={},
    not_exported={},
    state=LAYOUT,
    files=(),
)

# Unlike a real decoder's, the cache is read in full: columns not written yet are masked.
GRAPH = f"""
<ir_version: 11, opset_import: ["": 24]>
toy (int64[batch,tokens] input_ids, int64[3,batch,tokens] positions, int64[batch] lengths,
     int64[batch] past_lengths, int64[rows] logit_index,
     float[batch,1,capacity,1] "past.0.key", float[batch,1] "past.1.recurrent")
=> (float[rows,{VOCAB}] logits,
    float[batch,1,capacity,1] "present.0.key", float[batch,1] "present.1.recurrent")
<float[{POISON}] table = {{{", ".join(map(str, range(POISON)))}}},
 float[{VOCAB}] candidates = {{{", ".join(map(str, range(VOCAB)))}}},
 float three = {{3}}, float five = {{5}}, float modulus = {{{POISON}}}, float f_zero = {{0}},
 int64 zero = {{0}}, int64 one = {{1}}, int64[1] axis_0 = {{0}}, int64[1] axis_1 = {{1}},
 int64[1] axis_2 = {{2}}, int64[1] flat = {{-1}}, int64[2] columns_only = {{0, -1}}>
{{
    n_tokens = Shape<start = 1, end = 2>(input_ids)
    n_tokens_scalar = Squeeze(n_tokens)
    token = Range(zero, n_tokens_scalar, one)
    lengths_column = Unsqueeze(lengths, axis_1)
    valid = Less(token, lengths_column)
    embedded = Gather(table, input_ids)
    x = Where(valid, embedded, f_zero)

    running = CumSum(x, one)
    total = Add(running, "past.1.recurrent")
    added = ReduceSum(x, axis_1)
    "present.1.recurrent" = Add("past.1.recurrent", added)

    x_axes = Constant<value_ints = [1, 3]>()
    x_new = Unsqueeze(embedded, x_axes)
    "present.0.key" = TensorScatter<axis = 2>("past.0.key", x_new, past_lengths)
    cache = Reshape("present.0.key", columns_only)
    n_columns = Shape<start = 2, end = 3>("present.0.key")
    n_columns_scalar = Squeeze(n_columns)
    column = Range(zero, n_columns_scalar, one)
    place = Add(column, one)
    place_f = Cast<to = 1>(place)
    weighted = Mul(cache, place_f)
    weighted_3d = Unsqueeze(weighted, axis_1)
    past_column = Unsqueeze(past_lengths, axis_1)
    own_column = Add(past_column, token)
    own_column_3d = Unsqueeze(own_column, axis_2)
    visible = LessOrEqual(column, own_column_3d)
    seen = Where(visible, weighted_3d, f_zero)
    places = ReduceSum<keepdims = 0>(seen, axis_2)

    position = Gather<axis = 0>(positions, zero)
    position_f = Cast<to = 1>(position)
    total_3 = Mul(total, three)
    position_5 = Mul(position_f, five)
    partly = Add(total_3, places)
    score = Add(partly, position_5)
    favourite = Mod<fmod = 1>(score, modulus)
    favourites = Reshape(favourite, flat)
    read = Gather(favourites, logit_index)
    read_column = Unsqueeze(read, axis_1)
    distance = Sub(candidates, read_column)
    squared = Mul(distance, distance)
    logits = Neg(squared)
}}
"""


def write_toy(folder: Path, *, graph: str = GRAPH, **changes: Any) -> Path:
    """Write the engine; ``changes`` replace fields of its manifest."""
    folder.mkdir(parents=True)
    model = onnx.parser.parse_model(graph)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (folder / "decoder.onnx").write_bytes(data)
    entry = FileEntry("decoder.onnx", len(data), hashlib.sha256(data).hexdigest())
    manifest = replace(MANIFEST, files=(entry,), **changes)
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return folder


def toy_logits(tokens: Sequence[int]) -> NDArray[np.float32]:
    """Logits [n,V] after each of the tokens of one sequence."""
    t = np.arange(len(tokens))
    token = np.array(tokens, dtype=np.int64)
    favourite = (3 * token.cumsum() + ((t + 1) * token).cumsum() + 5 * t) % POISON
    return (-((np.arange(VOCAB) - favourite[:, None]) ** 2)).astype(np.float32)


def toy_tokens(
    tokens: Sequence[int], max_new_tokens: int, stop: Sequence[int] = (EOS,)
) -> list[int]:
    """What greedy generation must add."""
    history, fresh = list(tokens), list[int]()
    while history and len(fresh) < max_new_tokens:
        fresh.append(int(toy_logits(history)[-1].argmax()))
        history.append(fresh[-1])
        if fresh[-1] in stop:
            break
    return fresh
