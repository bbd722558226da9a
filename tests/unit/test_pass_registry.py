"""A pass is found by being there: one file, one class, one name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from deltaport import graph_passes
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.registry import registered_passes
from tests.docs.pages import page
from tests.passes.extra_passes import passes_in

PASSES = registered_passes()
ONE_PASS = '''
from dataclasses import dataclass
import onnx_ir as ir
from deltaport.graph_passes.graph_pass import GraphPass

@dataclass(frozen=True)
class {class_name}(GraphPass):
    """Nothing."""
    name = "{name}"
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, False)
'''


def test_no_pass_is_forgotten() -> None:
    for module in pkgutil.walk_packages(graph_passes.__path__, f"{graph_passes.__name__}."):
        importlib.import_module(module.name)
    ours = {
        each
        for each in GraphPass.__subclasses__()
        if each.__module__.startswith(graph_passes.__name__) and each.__module__ in sys.modules
    }
    assert set(PASSES.values()) == ours
    assert len(PASSES) > 10


@pytest.mark.parametrize(("name", "found"), PASSES.items(), ids=PASSES)
def test_a_pass_is_what_it_must_be(name: str, found: type[GraphPass]) -> None:
    assert found.name == name
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", name)
    *_, folder, file = found.__module__.split(".")
    assert file == name.replace("-", "_")
    verb = {"clean": "eliminate"}.get(folder, folder)
    assert name.startswith(verb) or folder in ("lower", "quantize")
    assert found.__name__ == "".join(part.capitalize() for part in name.split("-"))
    hints = get_type_hints(found)
    for option in dataclasses.fields(found):
        assert option.default is not dataclasses.MISSING
        assert hints[option.name] in (int, float, str, bool)
        assert type(option.default) is hints[option.name]
    assert found() == found()
    assert "__dataclass_fields__" in vars(found), "without @dataclass it has no options"


@pytest.mark.parametrize(("name", "found"), PASSES.items(), ids=PASSES)
def test_a_pass_is_documented(name: str, found: type[GraphPass]) -> None:
    assert found.__doc__
    assert not found.__doc__.startswith(f"{found.__name__}("), "that is what dataclass writes"
    assert f"\n### {name}\n" in page("passes.md")


def test_the_order_is_that_of_folders_and_files() -> None:
    places = [found.__module__ for found in PASSES.values()]
    assert places == sorted(places)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PASSES["mine"] = GraphPass  # type: ignore[index]


def test_a_file_in_a_folder_is_a_pass(tmp_path: Path) -> None:
    text = ONE_PASS.format(class_name="EliminateNothing", name="eliminate-nothing")
    (tmp_path / "eliminate_nothing.py").write_text(text)
    assert "eliminate-nothing" not in registered_passes()
    with passes_in(tmp_path):
        assert registered_passes()["eliminate-nothing"].__name__ == "EliminateNothing"
        assert registered_passes().keys() - PASSES.keys() == {"eliminate-nothing"}
    assert "eliminate-nothing" not in registered_passes()


def test_a_helper_in_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(
        "from deltaport.graph_passes.graph_pass import GraphPass\n"
        "from deltaport.graph_passes.fold.fold_constants import FoldConstants\n"
    )
    with passes_in(tmp_path):
        assert registered_passes() == PASSES


def test_another_name_than_the_files(tmp_path: Path) -> None:
    text = ONE_PASS.format(class_name="EliminateNothing", name="eliminate-nothing")
    (tmp_path / "eliminate_little.py").write_text(text)
    with passes_in(tmp_path), pytest.raises(RuntimeError, match="eliminate_little: holds"):
        registered_passes()


def test_two_in_a_file(tmp_path: Path) -> None:
    first = ONE_PASS.format(class_name="EliminateNothing", name="eliminate-nothing")
    second = ONE_PASS.format(class_name="EliminateLittle", name="eliminate-little")
    (tmp_path / "eliminate_nothing.py").write_text(first + second)
    with (
        passes_in(tmp_path),
        pytest.raises(
            RuntimeError,
            match="holds eliminate-nothing, eliminate-little; expected eliminate_nothing",
        ),
    ):
        registered_passes()


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    text = ONE_PASS.format(class_name="FoldConstants", name="fold-constants")
    (tmp_path / "fold_constants.py").write_text(text)
    with (
        passes_in(tmp_path),
        pytest.raises(RuntimeError, match="fold-constants is the name of"),
    ):
        registered_passes()
