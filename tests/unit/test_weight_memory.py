"""What weights cost a portable engine. Oracle: transformers' own modules, and counting experts."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
import transformers

from deltaport.bench.decode_traffic import DecodeTraffic
from deltaport.exporter.model_size import packed_bytes, parameter_shapes
from deltaport.exporter.weight_memory import resident_weight_bytes, weight_bytes_per_step
from tests.unit.test_model_size import MOE_TEXT, TEXT, spec_of

EXPERTS, TOP_K = MOE_TEXT["num_experts"], MOE_TEXT["num_experts_per_tok"]


def sizes_of_moe() -> dict[str, int]:
    with torch.device("meta"):
        config = transformers.Qwen3_5MoeTextConfig(**copy.deepcopy(MOE_TEXT))
        model = transformers.Qwen3_5MoeForCausalLM(config)
    return {name: math.prod(value.shape) for name, value in model.named_parameters()}


def total(sizes: dict[str, int], chosen: Callable[[str], bool]) -> int:
    return sum(size for name, size in sizes.items() if chosen(name))


def all_stored_as(text: dict[str, object], dtype: str) -> dict[str, str]:
    return dict.fromkeys(parameter_shapes(spec_of(text)), dtype)


@pytest.mark.parametrize(("dtype", "item"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_projections_are_widened_and_the_rest_is_not(dtype: str, item: int) -> None:
    sizes = sizes_of_moe()
    kept = total(sizes, lambda name: "embed_tokens" in name or ".experts." in name)
    expected = item * kept + 4 * (sum(sizes.values()) - kept)
    assert resident_weight_bytes(spec_of(MOE_TEXT), all_stored_as(MOE_TEXT, dtype)) == expected


def test_a_tied_table_is_widened_for_the_head() -> None:
    tied = {**TEXT, "tie_word_embeddings": True}
    table = TEXT["vocab_size"] * TEXT["hidden_size"]
    spec = spec_of(tied)
    wide = resident_weight_bytes(spec, all_stored_as(tied, "float32"))
    narrow = resident_weight_bytes(spec, all_stored_as(tied, "bfloat16"))
    assert narrow - wide == 2 * table, "the stored table is there beside the widened one"


@pytest.mark.parametrize("sequences", [1, 2, 3])
def test_a_step_reads_the_experts_somebody_chose(sequences: int) -> None:
    sizes = sizes_of_moe()
    experts = total(sizes, lambda name: ".experts." in name)
    others = total(sizes, lambda name: ".experts." not in name and "embed_tokens" not in name)
    # Every way in which the sequences can choose, each as likely as any other.
    choices = list(itertools.combinations(range(EXPERTS), TOP_K))
    distinct = [
        len(set().union(*chosen)) for chosen in itertools.product(choices, repeat=sequences)
    ]
    chosen = sum(distinct) / len(distinct) / EXPERTS
    found = weight_bytes_per_step(spec_of(MOE_TEXT), all_stored_as(MOE_TEXT, "bfloat16"), sequences)
    assert found == pytest.approx(4 * others + 2 * experts * chosen, rel=1e-9, abs=1)


@pytest.mark.parametrize("tied", [False, True])
def test_a_step_of_a_dense_model_reads_all_but_the_table(tied: bool) -> None:
    text = {**TEXT, "tie_word_embeddings": tied}
    with torch.device("meta"):
        config = transformers.Qwen3_5TextConfig(**copy.deepcopy(text))
        model = transformers.Qwen3_5ForCausalLM(config)
    parameters = sum(math.prod(value.shape) for value in model.parameters())
    table = 0 if tied else TEXT["vocab_size"] * TEXT["hidden_size"]
    dtypes = all_stored_as(text, "float16")
    assert weight_bytes_per_step(spec_of(text), dtypes, 5) == 4 * (parameters - table)


def test_traffic_of_a_token() -> None:
    spec, dtypes = spec_of(TEXT), all_stored_as(TEXT, "float32")
    found = DecodeTraffic.of(spec, dtypes, sequences=4, length=10.5)
    assert found.weights == weight_bytes_per_step(spec, dtypes, 4) / 4
    # Three linear layers, of 4 heads and a convolution of 2 * 2 * 10 + 4 * 22 channels.
    assert found.state == 3 * 4 * (4 * 10 * 22 + 128 * 2)
    # Two attention layers with keys and values of 2 heads.
    assert found.kv == 10.5 * 2 * 4 * 2 * 2 * 14
    assert found.total == found.weights + found.state + found.kv


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], 0), ([1], 1), ([4096, 1], 4097), ([1, 1], 4097), ([4097, 4095, 5], 12293)],
)
def test_packed_bytes(sizes: list[int], expected: int) -> None:
    assert packed_bytes(sizes) == expected
