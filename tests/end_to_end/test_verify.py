"""``deltaport verify``: sound engines pass, damaged ones are flagged and the place is named."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from deltaport.decoder_interface import tap_names
from deltaport.exporter.export import export_checkpoint
from deltaport.text import TextTokenizer
from deltaport.verify import VerifyEvents, verify_engine
from deltaport.verify.open_oracle import open_oracle
from deltaport.verify.oracle import Oracle
from tests.checkpoints import CORPUS, save_checkpoint
from tests.end_to_end.command import deltaport, error_line, in_process
from tests.end_to_end.engine_surgery import change_weight, narrow_state, vouch

Damage = Callable[[Path], None]

LAYER = "model.layers."
BRIEF = ("--text", f"{CORPUS[0]} {CORPUS[1]} {CORPUS[2]}", "-n", "2", "--oracle", "eager")
"""One prompt of some hundred tokens, and the oracle that loads sooner."""


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense checkpoint without a tokenizer, and its engine."""
    folder = tmp_path_factory.mktemp("dense")
    save_checkpoint(folder / "checkpoint", kind="dense", tie=True, seed=7)
    export_checkpoint(folder / "checkpoint", folder / "engine")
    return folder / "checkpoint", folder / "engine"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from threads, and lose much where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def verified(engine: Path, checkpoint: Path, *options: str | Path, status: int) -> dict[str, Any]:
    """The JSON of a verification that ends with ``status``."""
    result = in_process(
        "verify", engine, "--against", checkpoint, "--json", "-q", "--threads", "1", *options
    )
    assert result.returncode == status, result
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["equal"] == (status == 0)
    return document


def test_a_device(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint", kind="dense", seed=7)
    engine, other = tmp_path / "engine", tmp_path / "other"
    export_checkpoint(checkpoint, engine, target="ort-cuda")
    export_checkpoint(checkpoint, other)
    brief = ("--ids", "1,2,3", "-n", "1", "--oracle", "eager")
    verified(engine, checkpoint, *brief, "--device", "cpu", "--layers", status=0)
    done = in_process("verify", other, "--against", checkpoint, *brief, "--device", "cuda", "-q")
    assert "device is cuda, but the engine was made for 'portable'" in error_line(done)


def test_a_router_that_ties_is_no_fault(tmp_path: Path) -> None:
    """Two experts whose router rows are a rounding apart, one way in the engine, the other here."""
    ours = save_checkpoint(tmp_path / "ours", seed=3, num_experts=4)
    theirs = shutil.copytree(ours, tmp_path / "theirs")
    name = "model.layers.0.mlp.gate.weight"
    for folder, factors in ((ours, (1.0, 1 + 1e-6)), (theirs, (1 + 1e-6, 1.0))):
        weights = load_file(folder / "model.safetensors")
        row = weights[name][0].clone()
        weights[name][0], weights[name][1] = row * factors[0], row * factors[1]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    export_checkpoint(ours, tmp_path / "engine")
    report = verified(tmp_path / "engine", theirs, "--layers", status=0)
    assert re.search(r"tolerance, up to router ties in \d of 8 prompts$", report["verdict"])
    assert any("experts are" in note for note in report["notes"])
    assert report["layers"]["departure"] is None
    assert max(p["runs"]["whole"]["logit_error"] for p in report["prompts"]) > 1e-3


@pytest.mark.parametrize("oracle", ["transformers", "eager"])
def test_a_sound_mixture_of_experts_is_equal(engine: Path, checkpoint: Path, oracle: str) -> None:
    report = verified(engine, checkpoint, "--oracle", oracle, "--layers", status=0)
    name = {"transformers": "transformers 5.", "eager": "deltaport's eager modules"}[oracle]
    assert report["oracle"].startswith(name)
    assert report["verdict"] == f"equal to {report['oracle']} within tolerance"
    assert report["differences"] == []
    assert report["layers"]["departure"] is None
    assert report["allowed"]["logit_error"] == 1e-4
    assert report["not_compared"]["mtp"] == 2
    lengths = [prompt["tokens"] for prompt in report["prompts"]]
    assert {1, 63, 64, 65, 200} <= set(lengths)
    for prompt in report["prompts"]:
        assert prompt["greedy"]["matched"] == prompt["greedy"]["of"] == 32
        assert 1e-4 < prompt["router_margin"] < 10
        for run in prompt["runs"].values():
            assert 0 < run["logit_error"] < 1e-5
            assert 0 <= run["kl_mean"] <= run["kl_max"] < 1e-9
            assert run["top1"] == 1.0
            assert set(run["state"]) == {"conv", "recurrent", "kv"}
    for run in report["layers"]["runs"].values():
        assert len(run["layers"]) == 4
        for layer in run["layers"]:
            assert 0 < max(layer["mixed"], layer["output"], *layer["state"].values()) < 1e-5


@pytest.mark.parametrize("oracle", ["transformers", "eager"])
def test_a_sound_dense_engine_without_tokenizer_is_equal(
    dense: tuple[Path, Path], oracle: str
) -> None:
    checkpoint, engine = dense
    report = verified(engine, checkpoint, "--oracle", oracle, "-n", "5", status=0)
    assert any("no tokenizer.json" in note for note in report["notes"])
    assert {prompt["router_margin"] for prompt in report["prompts"]} == {None}
    assert {prompt["greedy"]["of"] for prompt in report["prompts"]} == {5}


def worst_logit_error(report: dict[str, Any]) -> float:
    return max(run["logit_error"] for p in report["prompts"] for run in p["runs"].values())


@pytest.mark.parametrize(("dtype", "oracle"), [("bfloat16", "transformers"), ("float16", "eager")])
def test_an_engine_stored_narrower_equals_an_oracle_rounded_alike(
    checkpoint: Path, tmp_path: Path, dtype: Any, oracle: str
) -> None:
    export_checkpoint(checkpoint, tmp_path / "engine", dtype=dtype)
    options = (*BRIEF[:4], "--layers", "--oracle", oracle)
    report = verified(tmp_path / "engine", checkpoint, *options, status=0)
    assert report["stored_as"] == {
        "engine": dtype, "checkpoint": "float32", "oracle_rounded_to": dtype,
        "oracle_quantized_by": None,
    }  # fmt: skip
    assert report["allowed"]["rounding_of"] == "float32"
    assert worst_logit_error(report) < 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_rounding_costs_is_shown_and_allowed_for(
    dense: tuple[Path, Path], tmp_path: Path, dtype: Any
) -> None:
    checkpoint, _ = dense
    export_checkpoint(checkpoint, tmp_path / "engine", dtype=dtype)
    options = ("--ids", ",".join(map(str, range(100))), "--layers", "--unrounded")
    report = verified(tmp_path / "engine", checkpoint, *options, status=0)
    assert report["stored_as"]["oracle_rounded_to"] is None
    assert report["allowed"]["rounding_of"] == dtype
    assert report["layers"]["departure"] is None
    worst = worst_logit_error(report)
    assert 1e-4 < worst <= report["allowed"]["logit_error"], "rounding must show, within bounds"


def raise_one(name: str, index: tuple[int, ...]) -> Damage:
    def change(weight: Any) -> None:
        weight[index] += 0.5

    return lambda engine: change_weight(engine, name, change)


def swap_experts(engine: Path) -> None:
    def swap(weight: Any) -> None:
        weight[[0, 1]] = weight[[1, 0]]

    for name in ("gate_up_proj", "down_proj"):
        change_weight(engine, f"{LAYER}2.mlp.experts.{name}", swap)


def scale(name: str, factor: float) -> Damage:
    def change(weight: Any) -> None:
        weight *= factor

    return lambda engine: change_weight(engine, name, change)


def change_an_embedding(engine: Path) -> None:
    token = TextTokenizer.load(engine).encode("The")[0]
    raise_one("model.embed_tokens.weight", (token, 3))(engine)


SPARSE = "feed-forward (sparse MoE)"
LINEAR = "mixer (linear attention)"
DAMAGES: dict[str, tuple[Damage, int | None, str]] = {
    "norm before the experts": (
        raise_one(f"{LAYER}1.post_attention_layernorm.weight", (5,)),
        1,
        SPARSE,
    ),
    "norm before the mixer": (raise_one(f"{LAYER}2.input_layernorm.weight", (5,)), 2, LINEAR),
    "norm of the heads": (raise_one(f"{LAYER}0.linear_attn.norm.weight", (5,)), 0, LINEAR),
    "two experts swapped": (swap_experts, 2, SPARSE),
    "decay": (raise_one(f"{LAYER}1.linear_attn.A_log", (2,)), 1, LINEAR),
    "output projection": (
        raise_one(f"{LAYER}3.self_attn.o_proj.weight", (7, 9)),
        3,
        "mixer (full attention)",
    ),
    "key norm": (raise_one(f"{LAYER}3.self_attn.k_norm.weight", (4,)), 3, "mixer (full attention)"),
    "state narrowed as written": (
        lambda engine: narrow_state(engine, "present.1.recurrent"),
        1,
        "recurrent state",
    ),
    "state narrowed as read": (
        lambda engine: narrow_state(engine, "past.1.recurrent"),
        1,
        f"state carried between steps, {LINEAR}",
    ),
    "embedding": (change_an_embedding, None, "at the embedding"),
    "final norm": (
        raise_one("model.norm.weight", (9,)),
        None,
        "after the last layer: final norm or output head",
    ),
    "output head": (
        scale("lm_head.weight", 1.01),
        None,
        "after the last layer: final norm or output head",
    ),
}


@pytest.mark.parametrize(("damage", "layer", "part"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_flagged_and_located(
    altered: Path, checkpoint: Path, damage: Damage, layer: int | None, part: str
) -> None:
    damage(altered)
    report = verified(altered, checkpoint, "--layers", *BRIEF, status=3)
    assert report["verdict"].startswith("DIFFERS from deltaport's eager modules: ")
    departure = report["layers"]["departure"]
    assert (departure["layer"], departure["part"]) == (layer, part)
    assert departure["error"] > 8 * departure["before"]


def test_damage_of_a_dense_engine_against_transformers(
    dense: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint, engine = dense
    altered = Path(shutil.copytree(engine, tmp_path / "engine"))
    raise_one(f"{LAYER}0.mlp.down_proj.weight", (3, 3))(altered)
    report = verified(altered, checkpoint, "--layers", "--oracle", "transformers", status=3)
    departure = report["layers"]["departure"]
    assert (departure["layer"], departure["part"]) == (0, "feed-forward (dense)")


def test_weights_that_are_no_numbers_differ(altered: Path, checkpoint: Path) -> None:
    scale(f"{LAYER}1.post_attention_layernorm.weight", float("nan"))(altered)
    report = verified(altered, checkpoint, "--layers", *BRIEF, status=3)
    assert report["prompts"][0]["runs"]["whole"]["logit_error"] is None
    assert report["layers"]["departure"]["layer"] == 1


def test_what_people_see(altered: Path, checkpoint: Path, tmp_path: Path) -> None:
    swap_experts(altered)
    plot = tmp_path / "drift.png"
    result = deltaport("verify", altered, "--against", checkpoint, "--plot", plot)
    assert result.returncode == 3
    *_, verdict, departure = result.stdout.splitlines()
    assert re.fullmatch(
        r"DIFFERS from transformers \S+: logit error \S+ \(allowed 1\.0e-04; .*\); .*", verdict
    )
    assert re.fullmatch(
        r"departs at layer 2, feed-forward \(sparse MoE\): error \S+, before it \S+", departure
    )
    for expected in (
        r"oracle +transformers \S+, float32\n",
        r"allowed +logits 1\.0e-04, state 1\.9e-05 .*rounding of float32",
        r"not compared +\d+ tensors \(vision tower\), 2 tensors",
        r"prompt +tokens +logits +KL mean +KL max +top-1 +greedy +conv +recurrent +kv +margin\n",
        r"\n  code +150 +\d\.\de[-+]\d+ ",
        r"\n  2 +linear attention .*<-- departs\n",
    ):
        assert re.search(expected, result.stdout), expected
    *stages, written = result.stderr.splitlines()
    assert written == f"{plot} written"
    assert [stage.split()[0] for stage in stages] == [
        "checking", "loading", "running", "running", "looking",
    ]  # fmt: skip
    header = plot.read_bytes()
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(header[at : at + 4]) for at in (16, 20))
    assert 600 <= width <= 3000
    assert 400 <= height <= 1500
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ""] == ["drift.png"]


@pytest.mark.parametrize(
    ("name", "row"), [("model.embed_tokens.weight", "embedding"), ("model.norm.weight", "logits")]
)
def test_the_row_that_departs_is_marked(
    altered: Path, checkpoint: Path, name: str, row: str
) -> None:
    scale(name, 1.01)(altered)
    result = in_process("verify", altered, "--against", checkpoint, "-q", "--layers", *BRIEF)
    assert result.returncode == 3
    [marked] = [line for line in result.stdout.splitlines() if line.endswith("<-- departs")]
    assert marked.split()[0] == row


def test_a_plot_that_cannot_be_written_costs_no_report(
    engine: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkstemp", full)
    plot = tmp_path / "drift.png"
    result = in_process("verify", engine, "--against", checkpoint, "-q", "--plot", plot, *BRIEF)
    assert result.returncode == 2
    assert result.stdout.endswith("equal to deltaport's eager modules within tolerance\n")
    assert result.stderr == f"error: {plot}: cannot be written: {os.strerror(errno.ENOSPC)}\n"


def test_without_layers_it_says_how_to_look(altered: Path, checkpoint: Path) -> None:
    swap_experts(altered)
    result = in_process("verify", altered, "--against", checkpoint, "-q", *BRIEF)
    assert result.returncode == 3
    assert result.stdout.endswith("; run with --layers to see where\n")


class TestPrompts:
    def test_a_text(self, engine: Path, checkpoint: Path) -> None:
        options = ["--text", "Grüße aus Zürich", "-n", "3", "--oracle", "eager"]
        [prompt] = verified(engine, checkpoint, *options, status=0)["prompts"]
        expected = TextTokenizer.load(engine).encode("Grüße aus Zürich")
        assert (prompt["name"], prompt["tokens"]) == ("text", len(expected))
        assert prompt["greedy"] == prompt["greedy"] | {"matched": 3, "of": 3}

    def test_a_text_from_stdin(self, engine: Path, checkpoint: Path) -> None:
        result = deltaport(
            "verify", engine, "--against", checkpoint, "--text", "-", "--json", "-q", "-n", "0",
            "--oracle", "eager", input="a fox",
        )  # fmt: skip
        assert result.returncode == 0, result
        [prompt] = json.loads(result.stdout)["prompts"]
        assert prompt["tokens"] == len(TextTokenizer.load(engine).encode("a fox"))

    def test_token_ids(self, engine: Path, checkpoint: Path) -> None:
        report = verified(engine, checkpoint, "--ids", "1,2,3", "--oracle", "eager", status=0)
        assert [prompt["tokens"] for prompt in report["prompts"]] == [3]


class TestRefusals:
    @staticmethod
    def refused(*arguments: str | Path) -> str:
        return error_line(in_process("verify", *arguments, "-q"))

    def test_another_model(self, engine: Path, dense: tuple[Path, Path]) -> None:
        line = self.refused(engine, "--against", dense[0])
        assert "its model_type is 'qwen3_5_moe_text', the checkpoint's is 'qwen3_5_text'" in line

    def test_another_size(self, engine: Path, tmp_path: Path) -> None:
        other = save_checkpoint(tmp_path / "checkpoint", num_experts=4, wrapped=True)
        line = self.refused(engine, "--against", other)
        assert "its num_experts is 8, the checkpoint's is 4" in line

    def test_an_altered_engine(self, altered: Path, checkpoint: Path) -> None:
        data = bytearray((altered / "decoder.onnx.data").read_bytes())
        data[1000] ^= 1
        (altered / "decoder.onnx.data").write_bytes(data)
        assert "checksum differs" in self.refused(altered, "--against", checkpoint)

    def test_ids_and_texts_that_cannot_be(self, engine: Path, checkpoint: Path) -> None:
        against = (engine, "--against", checkpoint)
        assert "300 is not a token id below 300" in self.refused(*against, "--ids", "1,300")
        assert "give either" in self.refused(*against, "--ids", "1", "--text", "a")
        assert "is empty" in self.refused(*against, "--text", "")
        assert "at most 4094" in self.refused(*against, "--ids", ",".join(["1"] * 4095), "-n", "2")

    def test_a_plot_over_something_else(self, engine: Path, checkpoint: Path) -> None:
        plot = checkpoint / "config.json"
        line = self.refused(engine, "--against", checkpoint, "--plot", plot)
        assert f"{plot}: exists and is no PNG picture" in line

    def test_a_plot_nowhere(self, engine: Path, checkpoint: Path, tmp_path: Path) -> None:
        plot = tmp_path / "none" / "drift.png"
        line = self.refused(engine, "--against", checkpoint, "--plot", plot)
        assert "its folder does not exist" in line

    def test_an_engine_without_taps(self, altered: Path, checkpoint: Path) -> None:
        path = altered / "decoder.onnx"
        model = onnx.load(str(path), load_external_data=False)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = "another" if name == "layers.2.mixed" else name
        path.write_bytes(model.SerializeToString())
        vouch(altered)
        arguments = ("--ids", "1", "--layers", "--oracle", "eager")
        line = self.refused(altered, "--against", checkpoint, *arguments)
        assert "decoder.onnx: has no value 'layers.2.mixed'" in line
        assert in_process(
            "verify", altered, "--against", checkpoint, "-q", *arguments[:2], "--oracle", "eager"
        ).returncode == 0, "only a look inside needs them"  # fmt: skip


@pytest.mark.parametrize("missing", ["transformers", "matplotlib", "torch"])
def test_what_is_not_installed_is_named(
    engine: Path, checkpoint: Path, missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import importlib.util

    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name == missing else found(name, package)

    for module in ("verify.open_oracle", "verify.drift_plot", "cli.installed"):
        monkeypatch.setattr(f"deltaport.{module}.find_spec", find_spec)
    options = ("--oracle", "transformers", "--plot", tmp_path / "drift.png")
    line = TestRefusals.refused(engine, "--against", checkpoint, *options)
    assert missing in line
    assert "pip install 'deltaport[verify]'" in line


def test_without_transformers_the_eager_modules_judge(
    engine: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deltaport.verify.open_oracle.find_spec", lambda name: None)
    report = verified(engine, checkpoint, "--ids", "1,2", status=0)
    assert report["oracle"] == "deltaport's eager modules"


def test_what_transformers_cannot_run_is_said(tmp_path: Path) -> None:
    """Its cache refuses a model without full attention."""
    checkpoint = save_checkpoint(
        tmp_path / "checkpoint", kind="dense", num_hidden_layers=1, layer_types=["linear_attention"]
    )
    engine, prompt = tmp_path / "engine", ("--ids", "1,2", "-n", "1")
    export_checkpoint(checkpoint, engine)
    line = TestRefusals.refused(engine, "--against", checkpoint, *prompt)
    assert re.search(r"transformers \S+ cannot run it: .*; compare with --oracle eager$", line)
    verified(engine, checkpoint, *prompt, "--oracle", "eager", status=0)


def test_a_transformers_that_does_not_know_the_model(
    engine: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SimpleNamespace(__version__="4.40.0", utils=transformers.utils)
    monkeypatch.setattr("deltaport.verify.transformers_oracle.transformers", old)
    line = TestRefusals.refused(engine, "--against", checkpoint, "--ids", "1")
    assert "transformers 4.40.0 cannot load it: " in line
    assert line.endswith("; compare with --oracle eager")


@pytest.mark.parametrize("oracle", ["transformers", "eager"])
def test_the_oracle_has_left_memory_when_the_engine_comes(
    engine: Path, checkpoint: Path, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[torch.nn.Module]] = []
    alive: dict[str, int] = {}

    def opened(*arguments: Any) -> Oracle:
        judge = open_oracle(*arguments)
        [model] = [value for value in vars(judge).values() if isinstance(value, torch.nn.Module)]
        models.append(weakref.ref(model))
        return judge

    def stage(name: str) -> None:
        alive[name] = sum(model() is not None for model in models)

    # By its name the module is hidden behind the function.
    monkeypatch.setattr(sys.modules[verify_engine.__module__], "open_oracle", opened)
    gc.disable()  # which might come by in time by chance
    try:
        verify_engine(
            engine, checkpoint, ids=[1], new_tokens=0, oracle=oracle, events=VerifyEvents(stage)
        )
    finally:
        gc.enable()
    *_, of_oracle, of_engine = alive.items()
    assert of_oracle[0].startswith("running ")
    assert of_oracle[1] == 1
    assert of_engine == ("running the engine", 0)


def test_a_model_larger_than_the_machine_is_refused_before_it_is_loaded(
    engine: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 1024)
    line = TestRefusals.refused(engine, "--against", checkpoint)
    assert re.search(r"needs \S+ MB of memory, .* this machine has 1 MB", line)


def test_every_engine_has_its_taps(
    engine: Path, dense: tuple[Path, Path], single_layer: Path, tmp_path: Path
) -> None:
    export_checkpoint(single_layer, tmp_path / "narrow", dtype="bfloat16")
    for folder, layers in ((engine, 4), (dense[1], 4), (tmp_path / "narrow", 1)):
        model = onnx.load(str(folder / "decoder.onnx"), load_external_data=False)
        inside = [name for node in model.graph.node for name in node.output]
        names = tap_names(layers)
        assert [name for name in inside if name in names] == names, "in the order of the model"
        assert not set(names) & {value.name for value in model.graph.output}
    assert names == ["embedded", "layers.0.mixed", "layers.0.output"]


def test_verifying_changes_nothing(engine: Path, checkpoint: Path) -> None:
    def times(folder: Path) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    before = times(engine), times(checkpoint)
    verified(engine, checkpoint, "--ids", "1", "--layers", "--oracle", "eager", status=0)
    assert (times(engine), times(checkpoint)) == before
