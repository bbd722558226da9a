"""Shell completion: what shells are told, by the protocol of each."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deltaport.cli.group import group
from tests.end_to_end.command import COMMAND, deltaport, error_line
from tests.end_to_end.test_cli import COMMANDS, HEAVY

SHELLS = ("bash", "zsh", "fish")
PLAIN = "plain"
"""The type of what is to be offered as it is; of paths the shell finds out by itself."""


def completions(shell: str, line: str, **options: object) -> list[str]:
    """What ``shell`` is told to offer for the last word of ``line``, which may be empty."""
    words = line.split(" ")
    asked = {
        "COMP_WORDS": line,
        # fish passes the word itself, the others where it is.
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
        "_DELTAPORT_COMPLETE": f"{shell}_complete",
    }
    result = deltaport(env=os.environ | asked, **options)
    assert (result.returncode, result.stderr) == (0, ""), result
    lines = result.stdout.strip().splitlines()
    if shell == "zsh":  # type, value and help, each on a line
        return [value for kind, value in zip(lines[::3], lines[1::3], strict=True) if kind == PLAIN]
    # type,value and for fish, after a tab, the help
    plain = [line.removeprefix(f"{PLAIN},") for line in lines if line.startswith(f"{PLAIN},")]
    return [value.partition("\t")[0] for value in plain]


@pytest.mark.parametrize("shell", SHELLS)
class TestEveryShell:
    def test_commands(self, shell: str) -> None:
        assert completions(shell, "deltaport ") == COMMANDS
        assert completions(shell, "deltaport comp") == ["completion"]

    def test_options(self, shell: str) -> None:
        found = completions(shell, "deltaport bench engine --")
        expected = [name for option in group.commands["bench"].params for name in option.opts]
        assert set(found) == {name for name in expected if name.startswith("--")}
        assert completions(shell, "deltaport export c --dt") == ["--dtype"]

    def test_values(self, shell: str) -> None:
        found = completions(shell, "deltaport export --dtype ")
        assert found == ["auto", "float32", "bfloat16", "float16"]
        assert completions(shell, "deltaport export --dtype b") == ["bfloat16"]
        assert completions(shell, "deltaport completion ") == list(SHELLS)

    def test_mistakes_on_the_line_are_for_later(self, shell: str) -> None:
        assert completions(shell, "deltaport export --dtype int4 --over") == ["--overwrite"]
        assert completions(shell, "deltaport no-such-command bfl") == []

    def test_nothing_heavy_is_imported(self, shell: str) -> None:
        code = (
            "import atexit, sys\nfrom deltaport.cli import main\n"
            "atexit.register(lambda: print('plain,LOADED', *sys.modules, sep=';'))\nmain()\n"
        )
        asked = {
            "COMP_WORDS": "deltaport export --",
            "COMP_CWORD": "--" if shell == "fish" else "2",
            "_DELTAPORT_COMPLETE": f"{shell}_complete",
        }
        result = deltaport(command=[sys.executable, "-c", code], env=os.environ | asked)
        loaded = {name.partition(".")[0] for name in result.stdout.split("LOADED;")[1].split(";")}
        assert "click" in loaded
        assert not HEAVY & loaded

    def test_script(self, shell: str) -> None:
        result = deltaport("completion", shell)
        assert (result.returncode, result.stderr) == (0, "")
        assert f"_DELTAPORT_COMPLETE={shell}_complete" in result.stdout
        by_default = deltaport("completion", env=os.environ | {"SHELL": f"/usr/bin/{shell}"})
        assert by_default.stdout == result.stdout


def test_paths_are_left_to_the_shell() -> None:
    asked = {"COMP_WORDS": "deltaport run ", "COMP_CWORD": "2"}
    result = deltaport(env=os.environ | asked | {"_DELTAPORT_COMPLETE": "bash_complete"})
    assert result.stdout == "file,\n"


@pytest.mark.parametrize(
    ("shell", "found"), [("/bin/tcsh", "$SHELL is 'tcsh'"), ("", "$SHELL is not set")]
)
def test_other_shells(shell: str, found: str) -> None:
    line = error_line(deltaport("completion", env=os.environ | {"SHELL": shell}))
    assert line == (
        f"error: {found}; name one of bash, zsh, fish; for help, run 'deltaport completion --help'"
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["deltaport", "ins"], ["inspect"]),
        (["deltaport", "export", "c", "--over"], ["--overwrite"]),
        (["deltaport", "export", "--dtype", "f"], ["float32", "float16"]),
    ],
)
def test_bash_itself(typed: list[str], expected: list[str], tmp_path: Path) -> None:
    """The script as the help says to use it, and the function that bash calls for a tab."""
    program = tmp_path / "deltaport"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(deltaport completion bash)"\n'
        "complete -p deltaport >/dev/null || exit 1\n"
        f"COMP_WORDS=({shlex.join(typed)}); COMP_CWORD={len(typed) - 1}\n"
        '_deltaport_completion deltaport\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == expected
