"""Looking inside the compiler: ``passes``, ``replay``, and the options of ``export`` for it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import PassError
from deltaport.graph_passes.pass_text import option_texts
from deltaport.graph_passes.pipeline import default_pipeline, parse_pipeline
from deltaport.graph_passes.registry import registered_passes
from deltaport.graph_passes.target_capabilities import TARGETS
from tests.end_to_end.command import deltaport, error_line, in_process, listing, on_terminal

PORTABLE = default_pipeline(TARGETS["portable"])
FEW = "fold-constants,fold-weight-layout,attach-function-bodies"


@pytest.fixture(scope="module")
def dumps(single_layer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of a whole pipeline; not to be written to."""
    folder = tmp_path_factory.mktemp("dumped") / "graphs"
    result = in_process("export", single_layer, "--dry-run", "-q", "--dump-dir", folder)
    assert result.returncode == 0, result.stderr
    return folder


def exported(checkpoint: Path, output: Path, *options: str | Path) -> dict[str, Any]:
    result = in_process("export", checkpoint, "-o", output, "-q", "--json", *options)
    assert (result.returncode, result.stderr) == (0, ""), result
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def unnamed(text: str) -> str:
    """A dump without the names of nodes: new ones are numbered by how many there were before."""
    return re.sub(r"^   \[\S+\] ", "   ", text, flags=re.MULTILINE)


class TestPasses:
    def test_the_list(self) -> None:
        result = deltaport("passes")
        assert (result.returncode, result.stderr) == (0, "")
        for name, found in registered_passes().items():
            [line] = re.findall(rf"^  {name}(?:{{.*?}})?  +(\S.*)$", result.stdout, re.MULTILINE)
            assert line == (inspect.getdoc(found) or "").partition("\n")[0]
        assert "  fold-constants{max-bytes=65536}  " in result.stdout
        folders = re.findall(r"^(\w+): Passes that .*\.$", result.stdout, re.MULTILINE)
        assert folders == list(
            dict.fromkeys(p.__module__.split(".")[-2] for p in registered_passes().values())
        )
        for target, row in TARGETS.items():
            assert f"\n{target}: {row.summary}\n  {default_pipeline(row).text}\n" in result.stdout

    def test_a_pipeline_can_be_copied_from_a_terminal(self) -> None:
        shown = on_terminal("passes", "--target", "ort-cpu", environment={"COLUMNS": "40"})
        text = default_pipeline(TARGETS["ort-cpu"]).text
        assert shown.replace("\r\n", "\n") == f"ort-cpu: {TARGETS['ort-cpu'].summary}\n  {text}\n"
        assert parse_pipeline(text).text == text

    @pytest.mark.parametrize("name", sorted(registered_passes()))
    def test_one(self, name: str) -> None:
        result = in_process("passes", name)
        assert result.returncode == 0
        assert inspect.getdoc(registered_passes()[name]) in result.stdout
        assert ("\nOptions: " in result.stdout) == bool(option_texts(registered_passes()[name]))

    def test_what_a_pass_requires(self) -> None:
        shown = in_process("passes", "attach-function-bodies").stdout
        assert "\nRequires: Bodies and graph speak the same opset" in shown

    def test_json(self) -> None:
        document = json.loads(deltaport("passes", "--json").stdout)
        assert [row["name"] for row in document["passes"]] == list(registered_passes())
        assert {target: row["text"] for target, row in document["pipelines"].items()} == {
            target: default_pipeline(row).text for target, row in TARGETS.items()
        }
        assert document["pipelines"]["portable"]["passes"] == [p.name for p in PORTABLE]
        [one] = [row for row in document["passes"] if row["name"] == "fold-constants"]
        assert json.loads(in_process("passes", "fold-constants", "--json").stdout) == one
        assert (one["folder"], one["options"]) == ("fold", ["max-bytes=65536"])
        assert one["documentation"].startswith(one["summary"])

    def test_mistakes(self) -> None:
        line = error_line(deltaport("passes", "fold-constant"))
        assert (
            line
            == "error: pass 'fold-constant': there is no such pass; did you mean fold-constants?"
        )
        assert "either NAME or --target" in error_line(
            deltaport("passes", "fold-constants", "--target", "portable")
        )

    def test_without_the_extra(self) -> None:
        code = "import sys; sys.modules['onnx'] = None; from deltaport.cli import main; main()"
        for arguments in (["passes"], ["replay", "x", "--passes", "fold-constants"]):
            line = error_line(deltaport(*arguments, command=[sys.executable, "-c", code]))
            assert "needs onnx, not installed here; install with: " in line


class TestDumps:
    def test_a_file_for_every_pass(self, dumps: Path) -> None:
        names = ["traced", *(found.name for found in PORTABLE)]
        expected = [f"{i:02}-{name}.onnxtxt" for i, name in enumerate(names)]
        assert sorted(path.name for path in dumps.iterdir()) == expected

    def test_replaying_a_pass_gives_the_next_file(self, dumps: Path) -> None:
        before, *rest = sorted(dumps.iterdir())
        for found, after in zip(PORTABLE, rest, strict=True):
            result = in_process("replay", before, "--passes", found.name, "-q")
            assert (result.returncode, result.stderr) == (0, ""), found.name
            assert unnamed(result.stdout) == unnamed(after.read_text()), found.name
            before = after

    def test_replaying_all_passes_gives_the_last_file(self, dumps: Path, tmp_path: Path) -> None:
        first, *_, last = sorted(dumps.iterdir())
        output = tmp_path / "last.onnxtxt"
        result = in_process("replay", first, "--passes", PORTABLE.text, "-o", output)
        assert (result.returncode, result.stdout) == (0, "")
        assert unnamed(output.read_text()) == unnamed(last.read_text())
        told = [
            re.fullmatch(r"(\S+): (.+) \([\d.]+ .?s\)", line) for line in result.stderr.splitlines()
        ]
        assert [line[1] for line in told if line] == [found.name for found in PORTABLE]
        assert any(line and line[2] == "no change" for line in told)
        assert any(line and re.fullmatch(r"\d+ -> \d+ nodes", line[2]) for line in told)

    @pytest.mark.parametrize("there", ["a folder with something in it", "a file"])
    def test_what_is_there_is_not_mixed_with(
        self, single_layer: Path, tmp_path: Path, there: str
    ) -> None:
        folder = tmp_path / "graphs"
        if there == "a file":
            folder.write_text("mine")
        else:
            folder.mkdir()
            (folder / "note").write_text("mine")
        before = listing(tmp_path)
        result = deltaport("export", single_layer, "--dry-run", "--dump-dir", folder)
        assert error_line(result).startswith(f"error: {folder}: ")
        assert error_line(result).endswith(" --dump-dir")
        assert listing(tmp_path) == before

    @pytest.mark.parametrize("inside", [".", "graphs", "a/b"])
    def test_not_into_the_engine(self, single_layer: Path, tmp_path: Path, inside: str) -> None:
        engine = tmp_path / "engine"
        result = deltaport("export", single_layer, "-o", engine, "--dump-dir", engine / inside)
        assert "lies in the engine's own folder; choose another --dump-dir" in error_line(result)
        assert not engine.exists()

    def test_an_empty_folder_and_an_engine_beside_it(
        self, single_layer: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "graphs").mkdir()
        output = tmp_path / "engine"
        exported(single_layer, output, "--dump-dir", tmp_path / "graphs", "--passes", FEW)
        assert len(list((tmp_path / "graphs").iterdir())) == 4
        assert "recipe" not in (output / "decoder.onnx").read_bytes().decode("latin-1")

    def test_a_disk_that_is_full(
        self, single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        folder = tmp_path / "graphs"
        result = in_process("export", single_layer, "--dry-run", "-q", "--dump-dir", folder)
        line = error_line(result)
        assert line == f"error: {folder}: cannot hold dumps: No space left on device"


class TestChosenPasses:
    def test_they_replace_the_default_ones(self, single_layer: Path, tmp_path: Path) -> None:
        plain = exported(single_layer, tmp_path / "plain")
        other = exported(single_layer, tmp_path / "other", "--passes", FEW)
        assert plain["passes"]["pipeline"] == PORTABLE.text
        assert other["passes"]["pipeline"] == FEW
        assert [run["text"] for run in other["passes"]["runs"]] == FEW.split(",")
        nodes = other["nodes"], plain["nodes"]
        assert nodes[0]["traced"] == nodes[1]["traced"]
        assert (
            nodes[0]["compiled"]["once a step"]["total"]
            > nodes[1]["compiled"]["once a step"]["total"]
        )
        tokens = [
            in_process("run", tmp_path / name, "--ids", "1,2,3", "-n", "12", "-q").stdout
            for name in ("plain", "other")
        ]
        assert tokens[0] == tokens[1]
        assert len(tokens[0].split(",")) == 12

    def test_options_of_a_pass(self, single_layer: Path) -> None:
        text = "fold-constants{max-bytes=0},fold-constants{max-bytes=999999}"
        result = in_process("export", single_layer, "--dry-run", "-q", "--json", "--passes", text)
        first, second = json.loads(result.stdout)["passes"]["runs"]
        assert [first["text"], second["text"]] == text.split(",")
        assert first["nodes_after"] == second["nodes_before"] > second["nodes_after"]
        assert second["modified"]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("fold-constnts", "did you mean fold-constants?"),
            ("fold-constants{size=3}", "option 'size': unknown; it has max-bytes"),
            ("fold-constants{max-bytes=much}", "'much' is no int"),
            ("fold-constants,,", "there is no such pass"),
        ],
    )
    def test_mistakes_are_found_before_any_work(
        self, tmp_path: Path, text: str, problem: str
    ) -> None:
        result = deltaport("export", tmp_path, "--dry-run", "--passes", text)
        assert problem in error_line(result), "the checkpoint, which is none, was not even opened"

    def test_a_pass_that_refuses_the_graph(
        self, single_layer: Path, dumps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PassError("fold-constants: is not amused")

        monkeypatch.setattr(registered_passes()["fold-constants"], "call", refuse)
        arguments = ["export", single_layer, "-o", tmp_path / "engine", "-q"]
        line = error_line(in_process(*arguments, "--passes", FEW))
        assert line == "error: --passes: fold-constants: is not amused"
        assert "this is a bug" in error_line(in_process(*arguments), status=1)
        dump = dumps / "00-traced.onnxtxt"
        line = error_line(in_process("replay", dump, "--passes", FEW, "-q"))
        assert line == f"error: {dump}: fold-constants: is not amused"
        assert list(tmp_path.iterdir()) == []


def test_export_says_what_passes_did(single_layer: Path, tmp_path: Path) -> None:
    result = in_process("export", single_layer, "-o", tmp_path / "engine")
    assert result.returncode == 0, result.stderr
    table, passes = result.stdout.split("\nnodes of a layer\n")[1].split("\npasses: nodes, time\n")
    head, *rows = table.splitlines()
    assert head.split() == [
        *("traced:", "ours", "standard", "total"),
        *("compiled:", "ours", "standard", "total"),
    ]
    numbers = {
        re.sub(r"  +.*", "", row.strip()): [int(n) for n in row.split()[-6:]] for row in rows if row
    }
    assert set(numbers) == {"1 x attention layer", "1 x feed-forward", "once a step"}
    for ours, standard, total, *compiled in numbers.values():
        assert ours + standard == total
        assert compiled[0] + compiled[1] == compiled[2] <= total
    *changed, idle = passes.splitlines()
    count = re.fullmatch(r"  (\d+) that changed nothing +[\d.]+ m?s", idle)
    assert count
    assert int(count[1]) + len(changed) == len(PORTABLE)
    assert all(re.fullmatch(r"  [a-z-]+ +\d+ -> \d+ +[\d.]+ (m|µ)?s", row) for row in changed)


class TestReplay:
    def test_a_difference(self, dumps: Path, tmp_path: Path) -> None:
        dump = tmp_path / "edited.onnxtxt"
        # How a text is laid out is no difference.
        dump.write_text((dumps / "00-traced.onnxtxt").read_text().replace("\n   int64", "  int64"))
        result = in_process("replay", dump, "--passes", "fold-weight-layout", "--diff", "-q")
        assert result.returncode == 0
        old, new, *lines = result.stdout.splitlines()
        assert (old, new) == (f"--- {dump}", "+++ fold-weight-layout")
        removed = [line for line in lines if line.startswith("-   [")]
        assert removed
        assert all(
            "Transpose" in line or "model." in line or "matmul" in line.lower() for line in removed
        )
        added = [line for line in lines if line.startswith("+   float")]
        assert any("transpose(model.layers.0.self_attn.q_proj.weight" in line for line in added)
        assert not any("int64[batch,tokens] input_ids" in line for line in lines if line[0] in "+-")

    def test_no_difference(self, dumps: Path) -> None:
        dump = dumps / "00-traced.onnxtxt"
        result = in_process("replay", dump, "--passes", "verify-state-layout", "--diff")
        assert (result.returncode, result.stdout) == (0, "")
        assert result.stderr.startswith("verify-state-layout: no change (")

    def test_from_stdin(self, dumps: Path) -> None:
        dump = dumps / "00-traced.onnxtxt"
        arguments = ("replay", "-", "--passes", "eliminate-identities", "-q")
        result = deltaport(*arguments, input=dump.read_text())
        assert result.stdout == in_process("replay", dump, *arguments[2:]).stdout
        assert error_line(deltaport(*arguments, input="x")).startswith(
            "error: standard input: line 1"
        )

    def test_mistakes(self, dumps: Path, tmp_path: Path) -> None:
        def refused(*arguments: str | Path) -> str:
            return error_line(in_process("replay", *arguments, "-q"))

        dump, fold = dumps / "00-traced.onnxtxt", ("--passes", "fold-constants")
        assert "no such pass" in refused(dump, "--passes", "fold")
        assert "cannot be read: No such file" in refused(tmp_path / "none", *fold)
        assert "cannot be read: Is a directory" in refused(tmp_path, *fold)
        assert "Missing option '--passes'" in refused(dump)
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        assert "not UTF-8" in refused(tmp_path / "binary", *fold)
        (tmp_path / "half").write_text(dump.read_text()[:5000])
        assert refused(tmp_path / "half", *fold).startswith(f"error: {tmp_path / 'half'}: line ")
        assert "cannot be written: Is a directory" in refused(dump, *fold, "-o", tmp_path)

    def test_a_graph_that_is_no_decoder(self, tmp_path: Path) -> None:
        dump = tmp_path / "small.onnxtxt"
        header = '<ir_version: 12, opset_import: ["": 24]>\n'
        dump.write_text(header + "g (float[N] x) => (float[N] y) { y = Identity(x) z = Relu(x) }")
        result = in_process("replay", dump, "--passes", "eliminate-dead-code", "-q")
        assert result.returncode == 0
        assert "Relu" not in result.stdout
        line = error_line(in_process("replay", dump, "--passes", "verify-state-layout", "-q"))
        assert "missing, so this is not a decoder graph" in line

    def test_more_than_any_dump(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deltaport.cli.replay_command._SIZE_LIMIT", 1 << 20)
        (tmp_path / "large").write_bytes(b" " * ((1 << 20) + 1))
        line = error_line(in_process("replay", tmp_path / "large", "--passes", "fold-constants"))
        assert line == f"error: {tmp_path / 'large'}: larger than 1 MiB, no dump of a graph"
