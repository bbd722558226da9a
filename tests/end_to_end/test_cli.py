"""Starting up, mistakes in the arguments, pipelines, bugs, and missing packages."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args

import click
import pytest

from deltaport import __version__
from deltaport.cli.group import group
from deltaport.exporter.export import StorageDtype
from deltaport.package import SCHEMA_VERSION
from tests.checkpoints import CORPUS
from tests.end_to_end.command import COMMAND, deltaport, error_line, in_process

HEAVY = {"torch", "onnx", "onnx_ir", "onnxruntime", "transformers", "numpy", "tokenizers", "rich"}
HEAVY |= {"jinja2", "matplotlib"}
PROMPT = CORPUS[2]


COMMANDS = sorted(group.commands)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run"],
        ["no-such-command"],
        ["completion", "zsh"],
        *([command, "--help"] for command in COMMANDS),
    ],
    ids=" ".join,
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
    names = ["deltaport", "engine schema", "op library", "onnxruntime", "tokenizers", "numpy"]
    names += ["jinja2", "onnx", "torch", "transformers", "python", "platform"]
    lines = result.stdout.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == names
    versions = dict(line.rsplit(" ", 1) for line in lines)
    assert versions["deltaport"] == __version__
    assert versions["torch"] == metadata.version("torch")
    assert versions["python"] == platform.python_version()
    assert versions["engine schema"] == str(SCHEMA_VERSION)


def test_version_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    result = in_process("--version")
    assert "\ntorch not installed\ntransformers not installed\n" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str) -> None:
    result = deltaport(command, "-h")
    assert result.returncode == 0
    assert result.stderr == ""
    assert re.search(rf"Examples:\n +deltaport {command}\b", result.stdout)
    assert re.search(rf"^  {command} +[A-Z].+", deltaport("--help").stdout, re.MULTILINE)
    described = group.commands[command]
    assert described.help
    assert described.short_help
    assert described.short_help.endswith(".")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    options = [o for o in group.commands[command].params if isinstance(o, click.Option)]
    assert options, "-h at least"
    for option in options:
        assert option.help, option.opts
        assert option.help.endswith("."), option.opts


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_valid(command: str) -> None:
    """Every example parses: its options exist and take such values."""
    lines = [line.strip() for line in (group.commands[command].epilog or "").splitlines()]
    examples = [line for line in lines if line.startswith("deltaport ")]
    assert examples
    for example in examples:
        words = shlex.split(re.split(r" [<>|] ", example)[0], comments=True)
        assert words[1] == command, example
        group.commands[command].make_context(command, words[2:])


def test_dtypes_on_offer_are_those_there_are() -> None:
    [option] = [o for o in group.commands["export"].params if o.name == "dtype"]
    assert tuple(option.type.choices) == get_args(StorageDtype)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "e"],
        ["run", "e", "-p", "a", "--ids", "1"],
        ["run", "e", "--ids", "1", "-n", "0"],
        ["run", "e", "--ids", "1", "--threads", "none"],
        ["export", "c"],
        ["export", "c", "--json", "-q"],
        ["export", "c", "-o", "e", "--dtype", "int4"],
        ["inspect"],
        ["inspect", "c", "--sequences", "0"],
        ["bench"],
        ["bench", "e", "--new-tokens", "1"],
        ["passes", "fold-constants", "--target", "portable"],
        ["passes", "--target", "abacus"],
        ["replay", "x.onnxtxt"],
        ["verify", "e", "--against", "c", "--passes-prefix", "-1"],
        ["completion", "tcsh"],
        ["no-such-command"],
        ["--no-such-option"],
    ],
)
def test_mistakes_in_the_arguments(arguments: list[str]) -> None:
    result = deltaport(*arguments)
    assert re.search(r"; for help, run 'deltaport( \w+)? --help'$", error_line(result))


def test_no_arguments_show_the_help() -> None:
    assert deltaport().stdout == deltaport("--help").stdout


def test_ctrl_c_while_starting_up() -> None:
    code = (
        "import sys\n"
        "from deltaport.cli import main\n"
        "class Trap:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Trap)\n"
        "main()\n"
    )
    result = deltaport("--help", command=[sys.executable, "-c", code])
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")


def shell(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``script``, in which ``"$@"`` is deltaport with the arguments."""
    return deltaport(*arguments, command=["bash", "-c", script, "bash", *COMMAND])


class TestStreams:
    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "-h"]])
    def test_help_goes_the_same_way(self, arguments: list[str]) -> None:
        assert "cannot be written" in error_line(shell('"$@" >/dev/full', *arguments))
        stopped = shell('"$@" | true; exit ${PIPESTATUS[0]}', *arguments)
        assert (stopped.returncode, stopped.stderr) == (141, "")

    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
    def test_closed_streams_change_no_exit_status(self, closed: str) -> None:
        assert shell(f'"$@" {closed}', "--version").returncode == 0
        assert shell(f'"$@" {closed}', "inspect", "nowhere").returncode == 2

    def test_a_prompt_from_a_closed_stream(self) -> None:
        line = error_line(shell('"$@" <&-', "run", "nowhere", "-p", "-"))
        assert "standard input is closed" in line

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
        "import deltaport.exporter.export_plan as export\n"
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
        "pip install 'deltaport[export]', in a clone: pip install '.[export]'\n"
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
