"""Which tokens end a generation. Oracle: transformers' own reading of the same two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from deltaport.errors import ConfigError
from deltaport.exporter.config_fields import MAX_CONFIG_BYTES
from deltaport.exporter.generation_config import GENERATION_CONFIG_NAME, eos_token_ids
from deltaport.exporter.model_spec import ModelSpec
from tests.unit.test_model_spec import DENSE_TEXT, DENSE_WRAPPED

VOCAB = DENSE_TEXT["vocab_size"]


def write(folder: Path, content: dict[str, Any] | bytes) -> Path:
    file = folder / GENERATION_CONFIG_NAME
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def found(folder: Path, config: dict[str, Any]) -> tuple[int, ...]:
    return eos_token_ids(folder, ModelSpec.from_config(config, source="config.json"))


def found_by_transformers(folder: Path, config: dict[str, Any]) -> tuple[int, ...]:
    """What ``from_pretrained`` gives a model as its generation defaults."""
    if (folder / GENERATION_CONFIG_NAME).exists():
        read = GenerationConfig.from_pretrained(folder)
    else:
        (folder / "config.json").write_text(json.dumps(config))
        read = GenerationConfig.from_pretrained(
            folder, config_file_name="config.json", _from_model_config=True
        )
    ids = read.eos_token_id
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


@pytest.mark.parametrize(
    "config",
    [
        DENSE_TEXT,
        {**DENSE_TEXT, "eos_token_id": 9},
        {**DENSE_TEXT, "eos_token_id": [9, 4]},
        DENSE_WRAPPED,  # only its text_config has one
        {**DENSE_WRAPPED, "eos_token_id": 7},
        {**DENSE_WRAPPED, "eos_token_id": None},
        {**DENSE_WRAPPED, "eos_token_id": []},
    ],
)
@pytest.mark.parametrize("ids", [None, 3, 0, VOCAB - 1, [3, 5], [5], [3, 3]])
def test_it_reads_what_transformers_reads(
    config: dict[str, Any], ids: int | list[int] | None, tmp_path: Path
) -> None:
    if ids is not None:
        write(tmp_path, {"eos_token_id": ids, "do_sample": True, "temperature": 0.6})
    assert found(tmp_path, config) == found_by_transformers(tmp_path, config)


@pytest.mark.parametrize("content", [{}, {"eos_token_id": None}, {"top_k": 20}])
def test_without_an_id_config_json_decides(content: dict[str, Any], tmp_path: Path) -> None:
    """The one difference: transformers would never stop."""
    write(tmp_path, content)
    assert found(tmp_path, DENSE_WRAPPED) == (88,)
    assert found_by_transformers(tmp_path, DENSE_WRAPPED) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"eos_token_id": -1}, "eos_token_id holds -1; expected token ids below vocab_size (96)"),
        ({"eos_token_id": VOCAB}, "eos_token_id holds 96; expected token ids below vocab_size"),
        ({"eos_token_id": [3, VOCAB]}, "eos_token_id holds 96; expected"),
        ({"eos_token_id": True}, "eos_token_id holds true"),
        ({"eos_token_id": 3.0}, "eos_token_id holds 3.0"),
        ({"eos_token_id": "</s>\n"}, 'eos_token_id holds "</s>\\n"'),
        ({"eos_token_id": [[3]]}, "eos_token_id holds a list"),
        ({"eos_token_id": {}}, "eos_token_id holds an object"),
        ({"eos_token_id": 10**4000}, "eos_token_id holds 1000"),
        (b"", "is not valid JSON"),
        (b"[1]", "holds a list; expected a JSON object"),
        (b'{"temperature": NaN}', "contains NaN"),
        (b"\xff", "is not UTF-8 text"),
        (b" " * (MAX_CONFIG_BYTES + 1), "is larger than 16 MiB"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_malformed_file_is_named(
    content: dict[str, Any] | bytes, message: str, tmp_path: Path
) -> None:
    file = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        found(tmp_path, DENSE_TEXT)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_link_to_nothing_is_not_taken_for_absence(tmp_path: Path) -> None:
    (tmp_path / GENERATION_CONFIG_NAME).symlink_to("../blobs/0")
    with pytest.raises(ConfigError, match=r"generation_config\.json: is a link to '\.\./blobs/0'"):
        found(tmp_path, DENSE_TEXT)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / GENERATION_CONFIG_NAME).mkdir()
    with pytest.raises(ConfigError, match=r"generation_config\.json: is not a regular file"):
        found(tmp_path, DENSE_TEXT)
