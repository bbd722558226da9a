"""Parameters are checked when made, and recommendations are read as transformers reads them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import transformers

from deltaport.errors import DeltaportError, EngineError, InputError
from deltaport.runtime import Engine, SamplingParams
from deltaport.runtime import generation_config as module


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_new_tokens", [-1, 1.5, True, "3"]),
        ("min_new_tokens", [-1, None, 0.0]),
        ("temperature", [-0.1, math.nan, math.inf, True, "1", None, 10**400]),
        ("top_k", [-1, 2.0, None]),
        ("top_p", [-0.1, 1.1, math.nan, None]),
        ("min_p", [-0.1, 1.1, math.nan]),
        ("typical_p", [0, 1.1, math.nan]),
        ("repetition_penalty", [0, -1.0, math.inf, math.nan]),
        ("presence_penalty", [math.inf, -math.inf, math.nan, False]),
        ("frequency_penalty", [math.inf, 1e9, "0.5"]),
        ("logit_bias", [{3: math.nan}, {3: math.inf}, {-1: 0.0}, {"3": 0.0}, {True: 1.0}, [3], 3]),
        ("suppress_tokens", [3, "3", [-1], [1.0], [True]]),
        ("allowed_tokens", [3, [1]]),
        ("seed", [-1, 2**64, 1.0, True]),
        ("stop", ["end", [""], [3], None, 3]),
        ("stop_token_ids", [3, "3", [-1], [None]]),
        ("ignore_eos", [0, 1, None]),
        ("logprobs", [-1, 2.5, True]),
        ("detokenize", [0, "yes"]),
    ],
)
def test_every_field_is_checked(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InputError, match=rf"^{name}.* (expected|is not)") as caught:
            SamplingParams(**{name: value})
        assert len(str(caught.value)) < 150
    SamplingParams(**{name: getattr(SamplingParams(), name)})


def test_what_is_like_a_number_or_a_list_is_taken_as_one() -> None:
    params = SamplingParams(
        max_new_tokens=np.int64(3),  # type: ignore[arg-type]
        temperature=1,
        top_p=np.float32(0.5),  # type: ignore[arg-type]
        logit_bias={np.int64(4): 1, 5: -math.inf},  # type: ignore[dict-item]
        suppress_tokens=np.array([1, 2]),  # type: ignore[arg-type]
        stop=["a", "b"],  # type: ignore[arg-type]
        stop_token_ids={7},  # type: ignore[arg-type]
    )
    assert (params.max_new_tokens, params.temperature, params.top_p) == (3, 1.0, 0.5)
    assert (params.logit_bias, params.suppress_tokens) == ({4: 1.0, 5: -math.inf}, (1, 2))
    assert (params.stop, params.stop_token_ids) == (("a", "b"), (7,))
    assert all(type(token) is int for token in (*params.suppress_tokens, *params.logit_bias))


def test_stop_strings_need_text() -> None:
    with pytest.raises(InputError, match="leave detokenize on"):
        SamplingParams(stop=("a",), detokenize=False)


def test_what_is_given_may_be_changed_afterwards() -> None:
    bias, stop = {1: 2.0}, ["a"]
    params = SamplingParams(logit_bias=bias, stop=stop)  # type: ignore[arg-type]
    bias.clear()
    stop.clear()
    assert params == SamplingParams(logit_bias={1: 2.0}, stop=("a",))
    assert hash(params) == hash(SamplingParams(logit_bias={3: 2.0}, stop=("a",)))


def recommended(folder: Path, document: Any, **changes: Any) -> SamplingParams:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "generation_config.json").write_text(text)
    engine: Engine = SimpleNamespace(folder=folder)  # type: ignore[assignment]  # all that is used
    return SamplingParams.from_generation_config(engine, **changes)


def refuse(folder: Path, document: Any, message: str, error: type[DeltaportError]) -> None:
    with pytest.raises(error, match=rf"generation_config\.json: {message}") as caught:
        recommended(folder, document)
    assert str(caught.value).isprintable()


QWEN = {
    "bos_token_id": 248044,
    "pad_token_id": 248044,
    "do_sample": True,
    "eos_token_id": [248046, 248044],
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "transformers_version": "5.23.0",
}


def test_a_recommendation_to_sample(tmp_path: Path) -> None:
    assert recommended(tmp_path, QWEN) == SamplingParams(temperature=0.6, top_k=20, top_p=0.95)
    changed = recommended(tmp_path, QWEN, temperature=0.0, seed=3)
    assert changed == SamplingParams(temperature=0.0, top_k=20, top_p=0.95, seed=3)


def test_without_a_file_everything_is_off(tmp_path: Path) -> None:
    engine: Engine = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    assert SamplingParams.from_generation_config(engine, top_k=3) == SamplingParams(top_k=3)


@pytest.mark.parametrize("do_sample", [None, False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.7, "top_k": 0},
        {"top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "repetition_penalty": 1.2},
        {"temperature": None, "top_k": None, "top_p": None, "repetition_penalty": None},
        {"suppress_tokens": [3, 4], "min_new_tokens": 5, "max_new_tokens": 9, "min_length": 3},
    ],
)
def test_as_transformers_reads_it(
    tmp_path: Path, fields: dict[str, Any], do_sample: bool | None
) -> None:
    document = fields if do_sample is None else fields | {"do_sample": do_sample}
    found = recommended(tmp_path, document)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    theirs.update(**theirs._get_default_generation_params(), defaults_only=True)
    sampling = {
        name: getattr(theirs, name) for name in ("temperature", "top_k", "top_p", "typical_p")
    } | {"min_p": theirs.min_p or 0.0}
    off = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "typical_p": 1.0, "min_p": 0.0}
    expected = sampling if theirs.do_sample else off
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.repetition_penalty == theirs.repetition_penalty
    assert found.suppress_tokens == tuple(theirs.suppress_tokens or ())
    assert found.min_new_tokens == (theirs.min_new_tokens or 0)
    assert found.max_new_tokens == (theirs.max_new_tokens or 128)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_beams": 1, "guidance_scale": 1.0, "encoder_repetition_penalty": 1.0},
        {"no_repeat_ngram_size": 0, "bad_words_ids": None, "begin_suppress_tokens": []},
        {"use_cache": True, "max_length": 32768, "_from_model_config": True},
        {"early_stopping": True, "length_penalty": 2.0, "remove_invalid_values": True},
        {"epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "top_h": 0.3},
        {"of_the_future": None, "another": False, "number": 0, "list": []},
    ],
)
def test_fields_that_change_nothing_pass(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert recommended(tmp_path, fields) == SamplingParams()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_beams", 4), ("no_repeat_ngram_size", 3), ("bad_words_ids", [[3]])),
        *(("guidance_scale", 1.5), ("sequence_bias", [[[3], 1.0]]), ("min_length", 10)),
        *(
            ("forced_eos_token_id", 3),
            ("begin_suppress_tokens", [3]),
            ("watermarking_config", {"a": 1}),
        ),
        *(("of_the_future", 0.5), ("presence\x1b_penalty", 1.5), ("penalty_alpha", 0.6)),
    ],
)
def test_what_deltaport_does_not_do_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    shown = name.replace("\x1b", r"\\x1b")
    refuse(tmp_path, {name: value}, rf"{shown} is .* does not do; .*--greedy", InputError)


@pytest.mark.parametrize("name", ["epsilon_cutoff", "eta_cutoff", "top_h"])
def test_filters_deltaport_lacks_are_refused_when_sampling(tmp_path: Path, name: str) -> None:
    refuse(tmp_path, {"do_sample": True, name: 0.1}, f"{name} is 0.1", InputError)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is not valid JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"temperature": NaN}', "contains NaN"),
        ('{"top_k": 1, "top_k": 2}', "names 'top_k' twice"),
        ({"do_sample": "yes"}, "do_sample is 'yes', expected true or false"),
        ({"do_sample": True, "temperature": "0.6"}, "temperature is '0.6', expected a number"),
        ({"do_sample": True, "temperature": 0}, "do_sample with temperature 0"),
        ({"do_sample": True, "top_p": 7}, "top_p is 7, expected"),
        ({"suppress_tokens": 5}, "suppress_tokens is 5, expected"),
        ({"repetition_penalty": [1]}, r"repetition_penalty is \[1\], expected"),
        ({"stop_strings": ["\x1b", ""]}, "stop holds '', expected"),
    ],
)
def test_files_that_are_damaged(tmp_path: Path, document: Any, message: str) -> None:
    refuse(tmp_path, document, message, EngineError)


def test_stop_strings_may_be_one(tmp_path: Path) -> None:
    assert recommended(tmp_path, {"stop_strings": "END"}).stop == ("END",)


def test_a_file_too_large_and_a_folder_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIZE_LIMIT", 10)
    refuse(tmp_path, {"temperature": 0.5}, "larger than", EngineError)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "generation_config.json").mkdir()
    with pytest.raises(EngineError, match="not a regular file"):
        module.recommended(tmp_path)
