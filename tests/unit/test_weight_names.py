"""Binding canonical names to checkpoints of every published layout, and refusing the rest."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from deltaport.errors import CheckpointError
from deltaport.exporter.checkpoint import Checkpoint
from deltaport.exporter.weight_names import Binding, bind
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate

BF16 = np.dtype(ml_dtypes.bfloat16)
E, I, H, V = 12, 3, 4, 7  # noqa: E741
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (V, H),
    "model.layers.0.mlp.experts.gate_up_proj": (E, 2 * I, H),
    "model.layers.0.mlp.experts.down_proj": (E, H, I),
    "model.layers.0.linear_attn.A_log": (2,),
    "model.layers.1.self_attn.q_proj.weight": (8, H),
    "model.norm.weight": (H,),
}
HEAD = "lm_head.weight"
UNTIED = {**SHAPES, HEAD: (V, H)}
Tensors = dict[str, NDArray[Any]]


def canonical(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    rng = np.random.default_rng(3)
    return {n: rng.standard_normal(s).astype(BF16) for n, s in shapes.items()}


def wrapped(tensors: Tensors) -> Tensors:
    return {n.replace("model.", "model.language_model.", 1): t for n, t in tensors.items()}


def one_by_one(tensors: Tensors) -> Tensors:
    """Take fused experts apart, as published checkpoints of the older layout hold them."""
    out: Tensors = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        for e in range(E) if ".experts" in name else ():
            if last == "gate_up_proj":
                out[f"{stem}.{e}.gate_proj.weight"] = tensor[e, :I].copy()
                out[f"{stem}.{e}.up_proj.weight"] = tensor[e, I:].copy()
            else:
                out[f"{stem}.{e}.down_proj.weight"] = tensor[e].copy()
        if ".experts" not in name:
            out[name] = tensor
    return out


def run(
    folder: Path, tensors: Tensors, shapes: dict[str, tuple[int, ...]], *, tied: bool
) -> tuple[Binding, Tensors]:
    """Bind, and evaluate every recipe."""
    save_file(tensors, folder / "model.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        binding = bind(shapes, checkpoint, tied=tied)
        values = {
            name: np.frombuffer(
                b"".join(evaluate(recipe, checkpoint, 50)), recipe.dtype.newbyteorder("=")
            ).reshape(recipe.shape)
            for name, recipe in binding.recipes.items()
        }
    return binding, values


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_published_layouts(tmp_path: Path, split: bool, wrap: bool, tied: bool) -> None:
    shapes = SHAPES if tied else UNTIED
    expected = canonical(shapes)
    tensors = one_by_one(expected) if split else expected
    tensors = wrapped(tensors) if wrap else tensors
    binding, values = run(tmp_path, tensors, shapes, tied=tied)
    assert binding.prefix == ("model.language_model." if wrap else "model.")
    assert binding.not_exported == {"vision": [], "mtp": [], "tied": []}
    assert list(binding.recipes) == list(shapes)
    for name, array in expected.items():
        assert values[name].shape == array.shape
        assert values[name].tobytes() == array.tobytes()
    used = {name for recipe in binding.recipes.values() for name in recipe.sources()}
    assert used == set(tensors)


def test_one_matrix_fused_and_the_other_not(tmp_path: Path) -> None:
    expected = canonical(UNTIED)
    tensors = {n: t for n, t in one_by_one(expected).items() if ".down_proj" not in n}
    tensors["model.layers.0.mlp.experts.down_proj"] = expected[
        "model.layers.0.mlp.experts.down_proj"
    ]
    _, values = run(tmp_path, tensors, UNTIED, tied=False)
    assert all(values[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_single_expert_stays_stacked(tmp_path: Path) -> None:
    stem = "model.layers.0.mlp.experts"
    shapes: dict[str, tuple[int, ...]] = {f"{stem}.down_proj": (1, H, I)}
    tensors: Tensors = {f"{stem}.0.down_proj.weight": np.ones((H, I), np.float32)}
    _, values = run(tmp_path, tensors, shapes, tied=True)
    assert values[f"{stem}.down_proj"].shape == (1, H, I)


def test_what_is_not_exported(tmp_path: Path) -> None:
    extra: Tensors = {
        "mtp.fc.weight": np.zeros(2, BF16),
        # Left out whatever their dtype.
        "mtp.layers.0.mlp.experts.0.gate_proj.weight": np.zeros((2, 2), np.int8),
        "model.visual.blocks.0.norm.weight": np.zeros(2, np.float64),
    }
    tensors = {**wrapped(canonical(SHAPES)), **extra}
    tensors[HEAD] = tensors["model.language_model.embed_tokens.weight"]
    binding, _ = run(tmp_path, tensors, SHAPES, tied=True)
    assert binding.not_exported["vision"] == ["model.visual.blocks.0.norm.weight"]
    assert sorted(binding.not_exported["mtp"]) == sorted(n for n in extra if "mtp" in n)
    assert binding.not_exported["tied"] == [HEAD]
    assert HEAD not in binding.recipes


def test_a_tied_head_may_be_stored_in_another_dtype(tmp_path: Path) -> None:
    tensors = canonical(SHAPES)
    tensors[HEAD] = tensors["model.embed_tokens.weight"].astype(np.float32)
    tensors[HEAD][0, 0] = tensors["model.embed_tokens.weight"][0, 0] = np.nan
    binding, _ = run(tmp_path, tensors, SHAPES, tied=True)
    assert binding.not_exported["tied"] == [HEAD]


def drop(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[name]

    return change


def put(name: str, *shape: int, dtype: Any = BF16) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: np.zeros(shape, dtype)})


def rename(old: str, new: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


Q, X = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.experts"
FUSED: list[tuple[Callable[[Tensors], None], str]] = [
    (drop(Q), rf"tensor '{Q}' is missing, expected by config.json"),
    (drop(HEAD), f"tensor '{HEAD}' is missing"),
    (drop(f"{X}.down_proj"), f"'{X}.down_proj' is missing"),
    (rename(Q, Q.replace("q_pr", "q_por")), f"missing .*nearest .*'{Q.replace('q_pr', 'q_por')}"),
    (rename(f"{X}.down_proj", f"{X}.down_proj.weight"), f"nearest .*'{X}.down_proj.weight'"),
    (rename(Q, f"language_model.{Q}"), f"nearest name it has is 'language_model.{Q}'"),
    (put("model.layers.2.norm.weight", 2), "1 tensors are left over: 'model.layers.2.norm.weight'"),
    (put("model.mtp.fc.weight", 2), "left over: 'model.mtp.fc.weight'"),
    (put("a\nb", 2), r"left over: 'a\\nb'"),
    (put(f"{X}.0.down_proj.weight", H, I), f"left over: '{X}.0.down_proj.weight'"),
    (put(Q, 8, H + 1), rf"'{Q}' has shape \[8, 5\], expected \[8, 4\]"),
    (put(Q, 8 * H), rf"'{Q}' has shape \[32\], expected \[8, 4\]"),
    (put(f"{X}.down_proj", E, I, H), r"down_proj' has shape \[12, 3, 4\], expected \[12, 4, 3\]"),
    (put(Q, 8, H, dtype=np.int8), f"'{Q}' has dtype I8, .*quantized checkpoints are not supported"),
    (put(Q, 8, H, dtype=ml_dtypes.float8_e4m3fn), f"'{Q}' has dtype F8_E4M3, expected one of F32"),
    (put(Q.replace("weight", "qweight"), 8, dtype=np.int32), "qweight' has dtype I32"),
    (rename(Q, Q.replace("model.", "model.language_model.")), "mixes the prefixes model. .*one;"),
]
D5 = f"{X}.5.down_proj.weight"
SPLIT: list[tuple[Callable[[Tensors], None], str]] = [
    (drop(f"{X}.5.up_proj.weight"), f"'{X}.5.up_proj.weight' is missing"),
    (put(f"{X}.12.up_proj.weight", I, H), f"left over: '{X}.12.up_proj.weight'"),
    (put(D5, I, H), rf"'{D5}' has shape \[3, 4\], expected \[4, 3\]"),
    (put(D5, H, I, dtype=np.float32), rf"'{D5}' has dtype F32, expected BF16 as '{X}.0"),
    (rename(D5, f"{X}.05.down_proj.weight"), f"nearest .*'{X}.05.down_proj.weight'"),
    (put(f"{X}.down_proj", E, H, I), "12 tensors are left over: .*, .*, .*, ...; expected none"),
]


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [*((False, *case) for case in FUSED), *((True, *case) for case in SPLIT)],
)
def test_refused(
    tmp_path: Path, split: bool, change: Callable[[Tensors], None], message: str
) -> None:
    tensors = canonical(UNTIED)
    tensors = one_by_one(tensors) if split else tensors
    change(tensors)
    with pytest.raises(CheckpointError, match=message) as error:
        run(tmp_path, tensors, UNTIED, tied=False)
    assert re.match(re.escape(str(tmp_path)), str(error.value))
    assert "\n" not in str(error.value)


def test_missing_tensors_are_counted(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"'model.embed_tokens.weight' and 6 more are missing"
    ):
        run(tmp_path, {"mtp.x": np.zeros(1, BF16)}, UNTIED, tied=False)


def test_billions_of_experts_are_missed_at_once(tmp_path: Path) -> None:
    names = (f"{X}.gate_up_proj", f"{X}.down_proj")
    many = {name: (2**31 - 1, *SHAPES[name][1:]) for name in names}
    with pytest.raises(CheckpointError, match=rf"'{X}.12.gate_proj.weight' and .* are missing"):
        run(tmp_path, one_by_one(canonical(UNTIED)), UNTIED | many, tied=False)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (np.ones((V, H), BF16), "'lm_head.weight' differs from 'model.embed_tokens.weight'"),
        (np.ones((V, H + 1), BF16), "'lm_head.weight' differs"),
        (np.ones((V, H), np.int8), "'lm_head.weight' has dtype I8"),
    ],
)
def test_a_tied_head_that_differs(tmp_path: Path, head: NDArray[Any], message: str) -> None:
    # transformers warns and uses such a head; leaving it out silently would change the model.
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, {**canonical(SHAPES), HEAD: head}, SHAPES, tied=True)


def test_an_untied_model_needs_its_head(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"1 tensors are left over: 'lm_head.weight'"):
        run(tmp_path, canonical(UNTIED), SHAPES, tied=False)


@pytest.mark.parametrize(
    ("shapes", "tied", "message"),
    [
        (UNTIED, True, "lm_head.weight has a shape of its own"),
        ({"transformer.h.0": (1,)}, True, "not a canonical"),
        ({"model.layers.0.mlp.experts.gate_up_proj": (E, 5, H)}, False, "5 rows are not"),
    ],
)
def test_wrong_use(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], tied: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, one_by_one(canonical(SHAPES)), shapes, tied=tied)
