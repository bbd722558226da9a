"""What the commands print when all is well, and how they take part in pipelines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from deltaport import __version__
from deltaport.cli.group import main
from deltaport.exporter.export import StorageDtype
from deltaport.package import open_package
from deltaport.runtime import Engine
from deltaport.text import TextTokenizer
from tests.checkpoints import CORPUS
from tests.end_to_end.command import COMMAND, deltaport, listing, on_terminal
from tests.end_to_end.conftest import Exported

HEAVY = {"torch", "onnx", "onnx_ir", "onnxruntime", "numpy", "tokenizers", "rich"}
PROMPT = CORPUS[2]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["export", "--help"], ["run"], ["no-such-command"]]
)
def test_starting_up_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom deltaport.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    result = deltaport(*arguments, command=[sys.executable, "-c", code])
    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    assert "click" in loaded
    assert not HEAVY & loaded


def test_version() -> None:
    result = deltaport("--version")
    assert result.returncode == 0
    assert result.stdout.startswith(f"deltaport {__version__}\nonnxruntime ")
    assert re.search(r"^torch [0-9]", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["export", "run", "inspect"])
def test_every_help_text_has_an_example(command: str) -> None:
    result = deltaport(command, "-h")
    assert result.returncode == 0
    assert re.search(rf"Examples?:\n +deltaport {command} ", result.stdout)
    assert f"deltaport {command} " in deltaport("--help").stdout


def test_dtypes_on_offer_are_those_there_are() -> None:
    [option] = [o for o in main.commands["export"].params if o.name == "dtype"]
    assert tuple(option.type.choices) == get_args(StorageDtype)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "e"],
        ["run", "e", "-p", "a", "--ids", "1"],
        ["run", "e", "--ids", "1", "-n", "0"],
        ["run", "e", "--ids", "1", "--threads", "none"],
        ["export", "c"],
        ["export", "c", "-o", "e", "--dtype", "int4"],
        ["inspect"],
        ["no-such-command"],
        ["--no-such-option"],
    ],
)
def test_mistakes_in_the_arguments(arguments: list[str]) -> None:
    result = deltaport(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage: deltaport" in result.stderr
    assert "Error: " in result.stderr


class TestExport:
    def test_it_says_what_it_did(self, exported: Exported) -> None:
        result = exported.result
        assert result.returncode == 0, result.stderr
        for expected in (
            r"^\S*/small engine$",
            r"model +qwen3_5_moe_text, 4 layers: 3 linear attention, 1 full attention\n",
            r"parameters +\d+ k, \d+ k active a token\n",
            r"stored as +float32, for portable engines\n",
            r"not exported +\d+ tensors \(vision tower\), 2 tensors \(multi-token prediction\)\n",
            r"time +\d",
            r"""try +deltaport run '.*/small engine' -p "Once upon a time"\n""",
        ):
            assert re.search(expected, result.stdout, re.MULTILINE), expected
        total = sum(path.stat().st_size for path in exported.folder.iterdir())
        assert f"{total / 1e6:.2f} MB" in result.stdout

    def test_stages_are_lines_where_there_is_no_terminal(self, exported: Exported) -> None:
        stages = [line.partition(" (")[0] for line in exported.result.stderr.splitlines()]
        assert stages == [
            "reading the checkpoint",
            "tracing the model",
            "running passes",
            "writing weights",
        ]
        assert "\x1b" not in exported.result.stdout + exported.result.stderr

    def test_overwrite_on_a_terminal(
        self, engine: Path, single_layer: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "engine"
        output.mkdir()
        for name, data in listing(engine).items():
            (output / name).write_bytes(data)
        arguments = ["--overwrite", "--dtype", "bfloat16"]
        shown = on_terminal("export", single_layer, "-o", output, *arguments)
        assert "\x1b[" in shown
        for expected in ("reading the checkpoint", "writing weights", "━", "stored as"):
            assert expected in shown
        assert shown.endswith('--ids "1,2,3"\r\n'), "without a tokenizer ids are what it can take"
        manifest = open_package(output)
        assert manifest.dtype == "bfloat16"
        assert set(listing(output)) == {"manifest.json"} | {e.path for e in manifest.files}
        assert [path.name for path in tmp_path.iterdir()] == ["engine"]
        assert deltaport("run", output, "--ids", "1", "-n", "1", "-q").stderr == ""


class TestRun:
    def test_ids(self, engine: Path) -> None:
        expected = Engine.open(engine).session().generate([[1, 2, 3]], max_new_tokens=12)[0]
        result = deltaport("run", engine, "--ids", "1, 2,3", "-n", "12")
        assert result.returncode == 0
        assert result.stdout == ",".join(map(str, expected)) + "\n"
        assert re.fullmatch(
            r"3 prompt tokens in .* \(.* tokens/s\); 12 new tokens in .* \(.* tokens/s.*\)\n",
            result.stderr,
        )

    @pytest.mark.parametrize("from_stdin", [False, True])
    def test_text(self, engine: Path, from_stdin: bool) -> None:
        tokenizer = TextTokenizer.load(engine)
        session = Engine.open(engine).session()
        ids = session.generate([tokenizer.encode(PROMPT)], max_new_tokens=40)[0]
        prompt = ["-p", "-"] if from_stdin else ["-p", PROMPT]
        options = {"input": PROMPT} if from_stdin else {}
        result = deltaport("run", engine, *prompt, "-n", "40", "--quiet", **options)
        assert result.returncode == 0
        assert result.stdout == tokenizer.decode(ids) + "\n"
        assert result.stderr == ""

    def test_text_appears_as_it_is_produced(self, engine: Path) -> None:
        arguments = ["run", str(engine), "--ids", "1", "-n", "4000", "--quiet"]
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert re.fullmatch(rb"\d+,?\d*,?", os.read(process.stdout.fileno(), 5))
            assert process.poll() is None, "the first token must not wait for the last"
            process.terminate()
            process.communicate()
        assert process.returncode == 143

    def test_an_end_token_ends_it(self, engine: Path, tmp_path: Path) -> None:
        ids = deltaport("run", engine, "--ids", "1,2,3", "-n", "5", "-q").stdout.strip().split(",")
        ending = tmp_path / "engine"
        ending.mkdir()
        for name, data in listing(engine).items():
            (ending / name).write_bytes(data)
        manifest = json.loads((engine / "manifest.json").read_text())
        manifest["eos_token_ids"] = [int(ids[2])]
        (ending / "manifest.json").write_text(json.dumps(manifest))
        result = deltaport("run", ending, "--ids", "1,2,3", "-q")
        assert result.stdout.strip().split(",") == ids[: ids.index(ids[2]) + 1]

    def test_options_do_not_change_the_tokens(self, engine: Path) -> None:
        plain = deltaport("run", engine, "--ids", "7,8", "-n", "9", "-q")
        options = ["--threads", "1", "--context", "10", "--no-checksums"]
        other = deltaport("run", engine, "--ids", "7,8", "-n", "9", "-q", *options)
        assert (other.returncode, other.stdout) == (0, plain.stdout)

    def test_by_default_it_stops_where_the_context_ends(self, engine: Path) -> None:
        result = deltaport("run", engine, "--ids", "7,8", "--context", "10", "-q")
        assert len(result.stdout.split(",")) == 9

    def test_a_terminal_gets_text_it_can_show(self, engine: Path) -> None:
        shown = on_terminal("run", engine, "-p", PROMPT, "-n", "60", "-q")
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]", shown)


class TestInspect:
    def test_engine(self, engine: Path) -> None:
        shown = deltaport("inspect", engine).stdout
        for expected in (
            r"\(engine\)\n",
            r"layers +3 linear attention, 1 full attention\n",
            r"mlp +8 experts of 32, 2 a token, and a shared one of 48\n",
            r"positions +4,096\n",
            r"target +portable",
            r"stored as +float32, [\d.]+ MB\n",
            r"not exported +\d+ tensors \(vision tower\)",
            r"experts +197 k +786 kB +\d\d\.\d %\n",
            r"decoder\.onnx\.data +[\d.]+ MB\n",
            r"3 x recurrent +\[slots, 4, 16, 16\] +swap\n",
            r"2 x kv +\[slots, 2, capacity, 32\] +in place\n",
        ):
            assert re.search(expected, shown), expected
        assert not re.search(r" $", shown, re.MULTILINE)

    def test_the_manifest_stands_for_its_engine(self, engine: Path) -> None:
        by_file = deltaport("inspect", engine / "manifest.json").stdout
        assert by_file == deltaport("inspect", engine).stdout

    def test_numbers_agree_whatever_is_inspected(
        self, checkpoint: Path, engine: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
        facts = {
            kind: json.loads(deltaport("inspect", "--json", path).stdout)
            for kind, path in [
                ("checkpoint", checkpoint),
                ("engine", engine),
                ("config", tmp_path),
                ("file", checkpoint / "config.json"),
            ]
        }
        for key in ("layers", "parameters", "state", "max_positions", "model"):
            assert len({json.dumps(found[key]) for found in facts.values()}) == 1, key
        assert facts["checkpoint"]["layers"] == {"linear_attention": 3, "full_attention": 1}
        assert facts["file"]["kind"] == facts["config"]["kind"] == "config"

        roles = {kind: {row["role"]: row for row in f["roles"]} for kind, f in facts.items()}
        experts = 4 * 8 * 3 * 32 * 64
        assert roles["engine"]["experts"] == {
            "role": "experts",
            "tensors": 8,
            "parameters": experts,
            "bytes": 4 * experts,
        }
        assert roles["checkpoint"]["experts"]["bytes"] == 4 * experts
        assert roles["config"]["experts"]["bytes"] == 2 * experts
        assert "bfloat16" in facts["config"]["notes"][0]
        total = sum(row["parameters"] for row in roles["config"].values())
        assert facts["config"]["parameters"]["total"] == total

        # keys and values of the attention layer; convolution window and matrices of the others
        assert facts["engine"]["state"] == {
            "bytes_per_sequence": 3 * 4 * (3 * 128 + 4 * 16 * 16),
            "bytes_per_token": 2 * 4 * 2 * 32,
        }
        left_out = facts["engine"]["engine"]["not_exported"]
        assert left_out == facts["checkpoint"]["checkpoint"]["not_exported"]
        assert left_out["mtp"] == 2
        files = {row["path"]: row["bytes"] for row in facts["engine"]["engine"]["files"]}
        assert files == {n: len(d) for n, d in listing(engine).items() if n != "manifest.json"}

    def test_unknown_fields_can_be_accepted(self, checkpoint: Path, tmp_path: Path) -> None:
        config = json.loads((checkpoint / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"novelty": 3}))
        refused = deltaport("inspect", tmp_path)
        assert refused.returncode == 2
        [remedy] = re.findall(r"--accept-config-field \S+", refused.stderr)
        assert deltaport("inspect", tmp_path, *remedy.split()).returncode == 0

    def test_colours_are_for_terminals_that_want_them(self, checkpoint: Path) -> None:
        config = checkpoint / "config.json"
        assert "\x1b[1m" in on_terminal("inspect", config)
        plain = on_terminal("inspect", config, environment={"NO_COLOR": "1"})
        assert "\x1b[3" not in plain
        assert "\x1b" not in deltaport("inspect", config).stdout


class TestStreams:
    def test_a_reader_that_stops_early_is_no_error(self, engine: Path) -> None:
        for arguments in (["inspect", engine], ["run", engine, "--ids", "1", "-n", "4000"]):
            with subprocess.Popen(
                [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdout.close()
                assert process.stderr.read() == b""
            assert process.returncode == 141

    @pytest.mark.parametrize("command", [["inspect"], ["run", "--ids", "1", "-q"]])
    def test_output_that_cannot_be_written(self, engine: Path, command: list[str]) -> None:
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [*COMMAND, *command, str(engine)],
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert result.returncode == 2
        assert result.stderr == (
            "error: standard output: cannot be written: No space left on device\n"
        )

    def test_an_old_locale_gets_what_it_can_spell(self, engine: Path) -> None:
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        result = deltaport("run", engine, "-p", PROMPT, "-n", "40", "-q", env=environment)
        assert result.returncode == 0
        assert result.stdout.isascii()


class TestBugs:
    """An exception nobody foresaw, provoked from outside: torch is replaced by a trap."""

    CODE = (
        "import sys, types\n"
        "import deltaport.exporter.export as export\n"
        "def trap(*_, **__): raise LookupError('first line\\nsecond line')\n"
        "export.bind = trap\n"
        "from deltaport.cli import main\n"
        "main(prog_name='deltaport')\n"
    )

    def provoke(self, checkpoint: Path, output: Path, *options: str, code: str = CODE) -> str:
        command = [sys.executable, "-c", code, *options]
        result = deltaport("export", checkpoint, "-o", output, "-q", command=command)
        assert result.returncode == 1
        assert not output.exists()
        return result.stderr

    def test_one_line_asks_to_report_it(self, checkpoint: Path, tmp_path: Path) -> None:
        stderr = self.provoke(checkpoint, tmp_path / "engine")
        assert stderr.count("\n") == 1
        assert stderr.startswith("error: unexpected LookupError: first line; this is a bug")
        assert "deltaport --debug" in stderr

    def test_debug_shows_the_traceback(self, checkpoint: Path, tmp_path: Path) -> None:
        stderr = self.provoke(checkpoint, tmp_path / "engine", "--debug")
        assert "Traceback (most recent call last)" in stderr
        assert "second line" in stderr

    def test_debug_shows_it_for_expected_errors_too(self, tmp_path: Path) -> None:
        result = deltaport("--debug", "inspect", tmp_path)
        assert result.returncode == 2
        assert "Traceback" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: ")

    def test_too_little_memory_is_not_a_bug(self, checkpoint: Path, tmp_path: Path) -> None:
        code = self.CODE.replace("LookupError('first line\\nsecond line')", "MemoryError()")
        command = [sys.executable, "-c", code]
        result = deltaport("export", checkpoint, "-o", tmp_path / "e", "-q", command=command)
        assert result.returncode == 2
        assert result.stderr.startswith("error: out of memory")


@pytest.mark.parametrize("missing", ["torch", "onnx", "ml_dtypes"])
def test_without_the_extra_exporting_says_what_to_install(
    checkpoint: Path, tmp_path: Path, missing: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from deltaport.cli import main; main()"
    command = [sys.executable, "-c", code]
    result = deltaport("export", checkpoint, "-o", tmp_path / "engine", command=command)
    assert result.returncode == 2
    assert result.stderr == (
        f"error: exporting needs {missing}, not installed here; install with: "
        "pip install 'deltaport[export]'\n"
    )


def test_without_the_extra_the_rest_works(checkpoint: Path, engine: Path) -> None:
    blocked = ("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "transformers")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from deltaport.cli import main; main()"
    )
    command = [sys.executable, "-c", code]
    for arguments in (
        ["run", engine, "-p", "The quick", "-n", "2"],
        ["inspect", engine],
        ["inspect", checkpoint / "config.json"],
    ):
        result = deltaport(*arguments, command=command)
        assert result.returncode == 0, result.stderr
    result = deltaport("inspect", checkpoint, command=command)
    assert result.returncode == 0
    assert "weights not read, which needs deltaport[export]" in result.stdout
