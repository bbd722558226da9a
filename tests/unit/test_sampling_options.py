"""What the options of a command make of a checkpoint's recommendation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from deltaport.cli.sampling_options import SamplingChoices, sampling_options, sampling_params
from deltaport.errors import InputError
from deltaport.runtime import Engine, SamplingParams

SAMPLES = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}


def params_of(folder: Path, document: dict[str, Any] | None, *arguments: str) -> SamplingParams:
    """What a command with the options gets for ``arguments``."""
    if document is not None:
        (folder / "generation_config.json").write_text(json.dumps(document))
    engine: Engine = SimpleNamespace(folder=folder)  # type: ignore[assignment]  # all that is used
    got = []

    @click.command()
    @click.option("--before", is_flag=True)
    @sampling_options
    @click.option("--after", is_flag=True)
    def command(before: bool, sampling: SamplingChoices, after: bool) -> None:
        assert before
        assert after
        got.append(sampling_params(engine, sampling, max_new_tokens=9, logprobs=2))

    result = CliRunner().invoke(command, ["--before", "--after", *arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    params = got[0]
    assert (params.max_new_tokens, params.logprobs) == (9, 2)
    return params


def expected(**fields: Any) -> SamplingParams:
    return SamplingParams(max_new_tokens=9, logprobs=2, **fields)


@pytest.mark.parametrize("document", [None, {}, {"do_sample": False, "top_k": 20}])
def test_without_options_and_recommendation_it_is_greedy(
    tmp_path: Path, document: dict[str, Any] | None
) -> None:
    assert params_of(tmp_path, document) == expected()


def test_without_options_it_is_what_the_checkpoint_recommends(tmp_path: Path) -> None:
    assert params_of(tmp_path, SAMPLES) == expected(temperature=0.6, top_k=20, top_p=0.95)


def test_options_replace_what_is_recommended_one_by_one(tmp_path: Path) -> None:
    found = params_of(tmp_path, SAMPLES, "--top-k", "0", "--seed", "0", "--min-p", "0.1")
    assert found == expected(temperature=0.6, top_k=0, top_p=0.95, seed=0, min_p=0.1)
    found = params_of(tmp_path, SAMPLES, "--temperature", "0")
    assert found == expected(temperature=0, top_k=20, top_p=0.95)


def test_every_option_arrives(tmp_path: Path) -> None:
    found = params_of(
        tmp_path,
        None,
        *("--temperature", "0.5", "--top-k", "7", "--top-p", "0.8", "--min-p", "0.02"),
        *("--typical-p", "0.9", "--repetition-penalty", "1.1", "--presence-penalty", "0.3"),
        *("--frequency-penalty", "-0.4", "--seed", "12", "--ignore-eos"),
        *("--logit-bias", "3=-1.5", "--logit-bias", "4=-inf"),
        *("--stop", "END", "--stop", "\n", "--stop-id", "5", "--stop-id", "6"),
    )
    assert found == expected(
        temperature=0.5,
        top_k=7,
        top_p=0.8,
        min_p=0.02,
        typical_p=0.9,
        repetition_penalty=1.1,
        presence_penalty=0.3,
        frequency_penalty=-0.4,
        seed=12,
        ignore_eos=True,
        logit_bias={3: -1.5, 4: -math.inf},
        stop=("END", "\n"),
        stop_token_ids=(5, 6),
    )


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p", "typical_p"])
def test_a_filter_alone_means_to_sample(tmp_path: Path, name: str) -> None:
    value: Any = 1 if name == "top_k" else 0.5
    found = params_of(tmp_path, {}, "--" + name.replace("_", "-"), str(value))
    assert found == expected(temperature=1.0, **{name: value})
    found = params_of(tmp_path, {}, "--" + name.replace("_", "-"), str(value), "--temperature", "0")
    assert found == expected(**{name: value})


@pytest.mark.parametrize("option", [["--seed", "3"], ["--repetition-penalty", "1.5"]])
def test_what_is_no_filter_does_not(tmp_path: Path, option: list[str]) -> None:
    assert params_of(tmp_path, {}, *option).temperature == 0


def test_greedy_leaves_the_recommendation_aside(tmp_path: Path) -> None:
    assert params_of(tmp_path, SAMPLES, "--greedy") == expected()
    assert params_of(tmp_path, {"num_beams": 4}, "--greedy") == expected()
    assert params_of(tmp_path, SAMPLES, "--greedy", "--temperature", "0") == expected()
    assert params_of(tmp_path, SAMPLES, "--greedy", "--stop", "x") == expected(stop=("x",))
    with pytest.raises(InputError, match="--greedy and --min-p contradict each other"):
        params_of(tmp_path, SAMPLES, "--greedy", "--min-p", "0.1")


@pytest.mark.parametrize("pair", ["3", "=1", "a=1", "-3=1", "3=", "3=x", "²=1", "9" * 5000 + "=1"])
def test_a_bias_is_a_token_and_a_number(tmp_path: Path, pair: str) -> None:
    with pytest.raises(InputError, match=r"--logit-bias: .* is not a bias; expected") as at:
        params_of(tmp_path, None, "--logit-bias", pair)
    assert len(str(at.value)) < 200
