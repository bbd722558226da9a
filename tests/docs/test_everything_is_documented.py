"""Commands, options, ops, passes, errors, public names and manifest fields are all documented."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

import deltaport.chat
import deltaport.errors
import deltaport.runtime
from deltaport.chat import Answer, AnswerPart, ChatSession, ChatTemplate, Conversation
from deltaport.cli.chat_slash import _COMMANDS as SLASH_COMMANDS
from deltaport.cli.group import group
from deltaport.custom_ops.definitions import DEFINITIONS
from deltaport.decoder_interface import LOGITS, STEP_INPUTS, tap_names
from deltaport.errors import DeltaportError
from deltaport.exporter.copied_files import COPIED_FILES
from deltaport.graph_passes.pass_text import option_texts
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.registry import registered_passes
from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.numerics import Quantity
from deltaport.package import FileEntry
from deltaport.runtime import (
    Completion,
    Engine,
    GeneratedToken,
    Generation,
    PrefixCache,
    PrefixUsage,
    SamplingParams,
    Session,
    Snapshot,
)
from deltaport.state_layout import StateTensor
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, page


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(group.commands))
def test_commands_and_options(name: str) -> None:
    text = section(page("commands.md"), f"deltaport {name}")
    command = group.commands[name]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} has no help"
            assert f"| `{option.opts[0]}`" in text
            assert all(f"`{spelled}`" in text for spelled in option.opts)
        else:
            assert str(option.name).upper() in text
    assert f"\ndeltaport {name}" in text.partition("```sh")[2], "an example is missing"


def test_what_may_be_typed_in_a_chat() -> None:
    text = section(page("commands.md"), "deltaport chat")
    for name, command in SLASH_COMMANDS.items():
        assert f"| `{command.usage}` |" in text
        assert command.usage.startswith(name)
    assert "`/quit`" in text


def test_ops() -> None:
    text = page("custom-ops.md")
    for op in DEFINITIONS.values():
        own = section(text, op.name)
        assert op.doc.strip() in own
        for port in op.inputs + op.outputs:
            assert f"| `{port.name}` | `{port.dtype}` | `[{port.shape}]` | {port.doc} |" in own
        assert all(f"| `{name}` |" in own for name in op.attributes)


def test_passes() -> None:
    passes = registered_passes()
    assert {"fold-weight-layout", "verify-in-place-safety"} <= set(passes)
    for name, found in passes.items():
        assert found.__doc__, f"{name} has no docstring"
        text = section(page("passes.md"), name)
        assert text.strip()
        assert all(f"`{option}`" in text for option in option_texts(found))
    files = {
        path for path in (ROOT / "graph_passes").glob("*/*.py") if "(GraphPass)" in path.read_text()
    }
    assert len(files) == len(passes)
    for target, row in TARGETS.items():
        text = section(page("passes.md"), f"Target {target}")
        assert f"\n{default_pipeline(row).text}\n" in text.replace(",\n", ",")


def test_errors() -> None:
    text = section(page("errors.md"), "Classes")
    for name in deltaport.errors.__all__:
        found = getattr(deltaport.errors, name)
        row = "| `{}` |" if issubclass(found, DeltaportError) else "`{}` is no `DeltaportError`"
        assert row.format(name) in text
    statuses = section(page("errors.md"), "Exit status")
    assert all(f"\n| {status} |" in statuses for status in (0, 1, 2, 3, 130, 141, 143))


def test_manifest_fields(engine: Path) -> None:
    manifest = json.loads((engine / "manifest.json").read_text())
    text = section(page("engine-folder.md"), "Manifest")
    assert all(f"\n| `{name}` |" in text for name in manifest)
    assert len(re.findall(r"\n\| `", text)) == len(manifest), "a field that is not there"
    assert all(f"`{field.name}`" in text for field in fields(FileEntry))
    assert all(
        f"`{field.name}`" in section(page("engine-folder.md"), "State")
        for field in fields(StateTensor)
    )


def test_the_graphs_interface(engine: Path) -> None:
    text = section(page("engine-folder.md"), "The decoder graph")
    assert all(f"`{name}`" in text for name in (*STEP_INPUTS, LOGITS))
    for row in json.loads((engine / "manifest.json").read_text())["state"]:
        assert f"`{re.sub('[0-9]+', 'N', row['input'])}`" in text
    assert {re.sub("[0-9]+", "N", name) for name in tap_names(2)} == {
        name for name in ("embedded", "layers.N.mixed", "layers.N.output") if f"`{name}`" in text
    }


def test_copied_files() -> None:
    assert all(f"`{name}`" in section(page("export.md"), "What it writes") for name in COPIED_FILES)


def test_the_python_api() -> None:
    text = page("python-api.md")
    names = {*deltaport.runtime.__all__, *deltaport.chat.__all__}
    runtime = (Engine, Session, Generation, Snapshot, PrefixCache)
    for owner in (*runtime, ChatSession, ChatTemplate, Conversation, Answer):
        names |= public(owner)
    for owner in (AnswerPart, Completion, GeneratedToken, PrefixUsage, SamplingParams):
        names |= {field.name for field in fields(owner)}
    internal = {"native", "of", "check_ids", "events", "events_async"}
    missing = {name for name in names - internal if not re.search(rf"\b{name}\b", text)}
    assert not missing
    rows = section(text, "SamplingParams")
    for field in fields(SamplingParams):
        assert f"| `{field.name}` |" in rows
        if isinstance(field.default, int | float):
            assert f"| `{field.name}` | {field.default} |" in rows


def test_embedding() -> None:
    text = page("embedding.md")
    options = re.findall(r"^option\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert options
    assert all(f"| `{name}` |" in section(text, "Build and install") for name in options)
    header = (ROOT / "runtime/include/deltaport/deltaport.h").read_text()
    statuses = re.search(r"enum deltaport_status \{(.*?)\}", header, re.DOTALL)
    assert statuses
    names = re.findall(r"(DELTAPORT_\w+) =", statuses[1])
    assert all(f"| `{name}` |" in section(text, "Errors") for name in names)
    assert len(names) == len(re.findall(r"\n\| `", section(text, "Errors")))


def test_the_tolerances_policy_is_where_the_page_says() -> None:
    assert Quantity.__module__ == "deltaport.numerics"
    assert "`src/deltaport/numerics.py`" in page("contributing.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in links(text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (path.parent / link.partition("#")[0]).resolve()
        for path in PAGES
        for link in links(path.read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert set(DOCS.glob("*.md")) <= linked
