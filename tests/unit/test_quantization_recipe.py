"""Recipes of quantization: the shipped ones, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.errors import InputError
from deltaport.graph_passes.quantize.quantization_recipe import (
    quantization_recipe,
    shipped_recipes,
)
from deltaport.weight_format import WeightFormat
from deltaport.weight_roles import MATRIX_ROLES, role_of
from tests.checkpoints import build_model

NEVER = {"router", "linear_attn.in_proj_ba"}


def test_the_shipped_recipes() -> None:
    assert shipped_recipes() == ("fp8", "int4", "int4-all", "int8")
    for name in shipped_recipes():
        recipe = quantization_recipe(name)
        assert recipe.name == name
        assert recipe.summary
        assert set(recipe.formats) == set(MATRIX_ROLES) - NEVER
    bits = {role: format_.bits for role, format_ in quantization_recipe("int4").formats.items()}
    assert {role for role, n in bits.items() if n == 8} == {
        "linear_attn.in_proj",
        "linear_attn.out_proj",
    }


@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_every_matrix_of_a_model_has_a_role(kind: str) -> None:
    model = build_model(kind=kind)  # type: ignore[arg-type]
    matrices = {
        role_of(name)
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and not name.endswith(("conv1d.weight", "shared_expert_gate.weight"))
    }
    assert matrices <= set(MATRIX_ROLES)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('summary = "mine"\n[roles]\nmlp = "int4 block=128 asymmetric"\n')
    recipe = quantization_recipe(str(path))
    assert (recipe.name, recipe.summary) == ("mine", "mine")
    assert recipe.format_of("model.layers.3.mlp.down_proj.weight") == WeightFormat(4, 128, True)
    assert recipe.format_of("model.layers.3.self_attn.q_proj.weight") is None
    assert recipe.format_of("model.norm.weight") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[roles", "no TOML: "),
        ("\xff", "no TOML: "),
        ("x = " + "[" * 5000, "no TOML: "),
        ("x = " + "1" * 5000, "no TOML: "),
        ("x = 1", "'x' is unknown; it has summary and [roles]"),
        ("", "expected a table [roles], and a text as its summary if any"),
        ("summary = 1\n[roles]", "expected a table [roles], and a text as its summary if any"),
        ('[roles]\nmpl = "int4"', "role 'mpl' is unknown; there are embedding, lm_head, linear"),
        ('[roles]\nmlp = "int5"', "role mlp is 'int5', expected int4 or int8, perhaps with block="),
        ("[roles]\nmlp = 4", "role mlp is '4', expected int4 or int8, perhaps with block="),
        ("x = 1\n" * 20000, "larger than 65536 bytes, which no recipe is"),
    ],
)
def test_what_is_wrong_with_a_recipe(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as raised:
        quantization_recipe(str(path))
    message = str(raised.value)
    assert message.startswith(f"{path}: {problem}"), message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["int5", "mine.toml", "README.md", "/"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    with pytest.raises(
        InputError, match=r"there is none of that name; choose one of fp8, int4, int4-all"
    ):
        quantization_recipe(name)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        quantization_recipe("a" * 300 + ".toml")
