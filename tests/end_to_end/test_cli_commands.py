"""What the commands print when all is well."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from deltaport.package import open_package
from deltaport.runtime import Engine, SamplingParams
from deltaport.text import TextTokenizer
from tests.checkpoints import CORPUS
from tests.end_to_end.command import COMMAND, deltaport, listing, on_terminal
from tests.end_to_end.conftest import Exported
from tests.greedy import greedy

PROMPT = CORPUS[2]


class TestExport:
    def test_it_says_what_it_did(self, exported: Exported) -> None:
        result = exported.result
        assert result.returncode == 0, result.stderr
        for expected in (
            r"^\S*/small engine$",
            r"model +qwen3_5_moe_text, 4 layers: 3 linear attention, 1 full attention\n",
            r"parameters +\d+k, \d+k active a token\n",
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

    def test_json_is_what_inspect_finds(self, single_layer: Path, tmp_path: Path) -> None:
        output = tmp_path / "engine"
        result = deltaport("export", single_layer, "-o", output, "--json", "-q")
        assert result.stderr == ""
        printed = json.loads(result.stdout)
        assert 0 < printed.pop("seconds") < 120
        assert {printed.pop("passes")["pipeline"].partition(",")[0]} == {"verify-graph"}
        assert set(printed.pop("nodes")) == {"traced", "compiled"}
        found = json.loads(deltaport("inspect", output, "--json").stdout)
        for document in (printed, found):
            del document["memory"]["available"]  # changes from one moment to the next
        assert printed == found
        assert printed["path"] == str(output)
        assert printed["engine"]["dtype"] == open_package(output).dtype

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
        assert '--ids "1,2,3"\r\n' in shown, "without a tokenizer ids are what it can take"
        manifest = open_package(output)
        assert manifest.dtype == "bfloat16"
        assert set(listing(output)) == {"manifest.json"} | {e.path for e in manifest.files}
        assert [path.name for path in tmp_path.iterdir()] == ["engine"]
        assert deltaport("run", output, "--ids", "1", "-n", "1", "-q").stderr == ""


class TestRun:
    def test_ids(self, engine: Path) -> None:
        expected = greedy(Engine.open(engine).session(), [[1, 2, 3]], new=12)[0]
        result = deltaport("run", engine, "--ids", "1, 2,3", "-n", "12")
        assert result.returncode == 0
        assert result.stdout == ",".join(map(str, expected)) + "\n"
        assert re.fullmatch(
            r"3 prompt tokens in .* \(.* tokens/s\); 12 new tokens in .* \(.* tokens/s.*\)"
            r"; cut short: -n or the context allows no more\n",
            result.stderr,
        )

    @pytest.mark.parametrize("from_stdin", [False, True])
    def test_text(self, engine: Path, from_stdin: bool) -> None:
        tokenizer = TextTokenizer.load(engine)
        session = Engine.open(engine).session()
        ids = greedy(session, [tokenizer.encode(PROMPT)], new=40)[0]
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

    def test_it_says_why_it_ended(self, engine: Path) -> None:
        arguments = ("run", engine, "--ids", "1,2,3", "-n", "5")
        ids = deltaport(*arguments, "-q").stdout.strip().split(",")
        ended = deltaport(*arguments, "--stop-id", ids[1])
        assert ended.stdout.strip().split(",") == ids[: ids.index(ids[1]) + 1]
        assert ended.stderr.endswith("; ended by an end token\n")

    def test_options_do_not_change_the_tokens(self, engine: Path) -> None:
        plain = deltaport("run", engine, "--ids", "7,8", "-n", "9", "-q")
        options = ["--threads", "1", "--context", "11", "--no-checksums"]
        other = deltaport("run", engine, "--ids", "7,8", "-n", "9", "-q", *options)
        assert (other.returncode, other.stdout) == (0, plain.stdout)

    def test_by_default_it_stops_where_the_context_ends(self, engine: Path) -> None:
        result = deltaport("run", engine, "--ids", "7,8", "--context", "10", "-q")
        assert len(result.stdout.split(",")) == 8

    def test_sampling(self, engine: Path) -> None:
        sampling = SamplingParams(max_new_tokens=40, temperature=0.9, top_p=0.95, seed=3)
        [done] = Engine.open(engine).session().generate([PROMPT], sampling)
        assert done.text is not None
        stop = done.text[12:14]
        options = ["--temperature", "0.9", "--top-p", "0.95", "--seed", "3", "--stop", stop]
        for arguments, text in ((options[:-2], done.text), (options, done.text.split(stop)[0])):
            result = deltaport("run", engine, "-p", PROMPT, "-n", "40", "-q", *arguments)
            assert (result.returncode, result.stdout) == (0, f"{text}\n")
        ids = deltaport("run", engine, "--ids", "1,2", "-n", "8", "-q", "--top-k", "50").stdout
        assert ids != deltaport("run", engine, "--ids", "1,2", "-n", "8", "-q").stdout

    def test_what_the_checkpoint_recommends(self, altered: Path) -> None:
        (altered / "generation_config.json").unlink()
        manifest = json.loads((altered / "manifest.json").read_text())
        listed = [row for row in manifest["files"] if row["path"] != "generation_config.json"]
        (altered / "manifest.json").write_text(json.dumps(manifest | {"files": listed}))
        (altered / "generation_config.json").write_text(
            json.dumps({"do_sample": True, "temperature": 0.7, "top_k": 0, "num_beams": 1})
        )
        command = ["run", altered, "--ids", "5,6", "-n", "9", "-q", "--seed", "8"]
        sampling = SamplingParams(max_new_tokens=9, temperature=0.7, seed=8)
        [expected] = Engine.open(altered).session().generate([[5, 6]], sampling)
        assert deltaport(*command).stdout == ",".join(map(str, expected.tokens)) + "\n"
        greedily = greedy(Engine.open(altered).session(), [[5, 6]], new=9)[0]
        assert greedily != expected.tokens
        assert deltaport(*command, "--greedy").stdout == ",".join(map(str, greedily)) + "\n"

    @pytest.mark.parametrize("from_text", [False, True])
    def test_json(self, engine: Path, from_text: bool) -> None:
        tokenizer = TextTokenizer.load(engine)
        ids = tokenizer.encode(PROMPT)
        prompt = ["-p", PROMPT] if from_text else ["--ids", ",".join(map(str, ids))]
        [expected] = (
            Engine.open(engine)
            .session()
            .generate([ids], SamplingParams(max_new_tokens=7, logprobs=2))
        )
        result = deltaport("run", engine, *prompt, "-n", "7", "--json", "--logprobs", "2")
        assert (result.returncode, result.stderr) == (0, "")
        document = json.loads(result.stdout)
        timings = document.pop("timings")
        assert all(0 < seconds < 60 for seconds in timings.values())
        logprobs = document.pop("logprobs")
        assert document == {
            "prompt_tokens": len(ids),
            "tokens": expected.tokens,
            "text": expected.text if from_text else None,
            "finish_reason": "length",
        }
        assert [row["token"] for row in logprobs] == expected.tokens
        assert [row["logprob"] for row in logprobs] == pytest.approx(expected.logprobs, abs=1e-4)
        for row, top in zip(logprobs, expected.top_logprobs, strict=True):
            assert [other["token"] for other in row["top"]] == [token for token, _ in top]
        plain = json.loads(deltaport("run", engine, *prompt, "-n", "7", "--json").stdout)
        assert (plain["tokens"], plain["logprobs"]) == (expected.tokens, None)

    def test_a_terminal_gets_text_it_can_show(self, engine: Path) -> None:
        shown = on_terminal("run", engine, "-p", PROMPT, "-n", "60", "-q")
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]", shown)


class TestInspect:
    def test_engine(self, engine: Path) -> None:
        shown = deltaport("inspect", engine).stdout
        for expected in (
            r": engine\n",
            r"layers +3 linear attention, 1 full attention\n",
            r"mlp +8 experts of 32, 2 a token, and a shared one of 48\n",
            r"positions +4,096\n",
            r"target +portable",
            r"stored as +float32, [\d.]+ MB\n",
            r"not exported +\d+ tensors \(vision tower\)",
            r"experts +float32 +197k +32 +786 kB +\d\d\.\d %\n",
            r"graph: \d+ nodes\n",
            r"ai\.deltaport +7 x AddRMSNorm, 4 x SharedExpertMoE, 3 x CausalConv1d, 3 x Gated.*\n",
            r"ONNX +.*\b1 x Gemm\b",
            r"decoder\.onnx\.data +[\d.]+ MB\n",
            r"3 x recurrent +\[slots, 4, 16, 16\] +swap\n",
            r"2 x kv +\[slots, 2, capacity, 32\] +in place\n",
            r"memory for 1 sequence of up to 4,096 tokens\n",
            r"keys and values +2\.10 MB\n",
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
        for found in facts.values():
            del found["memory"]["available"]  # changes from one moment to the next
        assert facts["engine"]["memory"] == facts["checkpoint"]["memory"]
        assert facts["file"]["memory"]["state"] == facts["engine"]["memory"]["state"]
        for key in ("layers", "parameters", "state", "max_positions", "model"):
            assert len({json.dumps(found[key]) for found in facts.values()}) == 1, key
        assert facts["checkpoint"]["layers"] == {"linear_attention": 3, "full_attention": 1}
        assert facts["file"]["kind"] == facts["config"]["kind"] == "config"

        roles = {kind: {row["role"]: row for row in f["roles"]} for kind, f in facts.items()}
        experts = 4 * 8 * 3 * 32 * 64
        assert roles["engine"]["experts"] == {
            "role": "experts",
            "dtype": "float32",
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
