"""What a verification runs on, and whether engine and checkpoint belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deltaport.errors import EngineError, InputError
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.package import Manifest
from deltaport.state_layout import StateLayout
from deltaport.text import TextTokenizer
from deltaport.verify.prompts import built_in_prompts, given_prompt
from deltaport.verify.same_model import check_same_model
from tests.checkpoints import VOCAB_SIZE, save_tokenizer
from tests.configs import CONFIG_397B

LENGTHS = [1, 63, 64, 65, 150, 129, 200, 100]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return TextTokenizer.load(folder)


class TestPrompts:
    def test_lengths_lie_around_the_chunks_of_the_ops(self, tokenizer: TextTokenizer) -> None:
        prompts = built_in_prompts(tokenizer, vocab_size=VOCAB_SIZE, longest=4000)
        assert [len(prompt.tokens) for prompt in prompts] == LENGTHS
        assert len({prompt.name for prompt in prompts}) == len(prompts)
        assert len(set(prompts[-1].tokens)) == 1
        assert all(len(set(prompt.tokens)) > 10 for prompt in prompts[1:-1])

    def test_they_are_text(self, tokenizer: TextTokenizer) -> None:
        by_name = {
            prompt.name: tokenizer.decode(prompt.tokens)
            for prompt in built_in_prompts(tokenizer, vocab_size=VOCAB_SIZE, longest=4000)
        }
        assert by_name["English prose"].startswith("The harbour woke")
        assert "def merge(left" in by_name["code"]
        assert "391" in by_name["numbers and maths"]

    def test_without_a_tokenizer_they_are_random_and_always_the_same(self) -> None:
        first, again = (built_in_prompts(None, vocab_size=7, longest=4000) for _ in range(2))
        assert first == again
        assert [len(prompt.tokens) for prompt in first] == LENGTHS
        assert {token for prompt in first for token in prompt.tokens} == set(range(7))
        assert first[1].name == "63 random tokens"

    def test_a_short_context_cuts_them(self, tokenizer: TextTokenizer) -> None:
        prompts = built_in_prompts(tokenizer, vocab_size=VOCAB_SIZE, longest=40)
        assert [len(prompt.tokens) for prompt in prompts] == [1] + [40] * 7

    def test_a_tokenizer_of_another_model_is_refused(self, tokenizer: TextTokenizer) -> None:
        with pytest.raises(EngineError, match=r"tokenizer\.json gives token id \d+ .* below 50;"):
            built_in_prompts(tokenizer, vocab_size=50, longest=4000)

    def test_own_tokens_must_be_some_and_not_too_many(self) -> None:
        assert given_prompt("mine", [1, 2], longest=2).tokens == [1, 2]
        with pytest.raises(InputError, match="no tokens"):
            given_prompt("mine", [], longest=2)
        with pytest.raises(InputError, match="has 3 tokens, expected at most 2"):
            given_prompt("mine", [1, 2, 3], longest=2)


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec.from_config(CONFIG_397B | changes, source="test")


def manifest(of: ModelSpec, **changes: Any) -> Manifest:
    made = Manifest(
        deltaport_version="0", target="portable", ragged=True, dtype="float32",
        decoder="decoder.onnx",
        vocab_size=of.vocab_size, max_positions=of.max_positions, eos_token_ids=(),
        op_library_version=1, quantization=None, model=of.to_json(), not_exported={},
        state=state_layout_of_spec(of), files=(),
    )  # fmt: skip
    return replace(made, **changes)


def check(engine: Manifest, checkpoint: ModelSpec) -> None:
    check_same_model(engine, checkpoint, at=Path("e"), against=Path("c"))


class TestSameModel:
    def test_the_same_is_the_same(self) -> None:
        check(manifest(spec()), spec())

    def test_what_wraps_or_ends_a_text_does_not_count(self) -> None:
        wrapped = replace(spec(), wrapped=True, has_vision=True, mtp_layers=1, eos_token_ids=(1, 2))
        check(manifest(spec()), wrapped)
        check(manifest(wrapped), spec())

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"hidden_size": 2048}, "hidden_size is 4096, the checkpoint's is 2048"),
            ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-06"),
            ({"full_attention_interval": 3}, "layer_types is "),
            ({"tie_word_embeddings": True}, "tie_word_embeddings is False"),
            (
                {"rope_parameters": CONFIG_397B["rope_parameters"] | {"rope_theta": 5.0}},
                "rope_parameters.rope_theta is ",
            ),
        ],
    )
    def test_the_first_field_that_differs_is_named(
        self, changes: Mapping[str, Any], name: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            check(manifest(spec()), spec(**changes))
        assert str(caught.value).startswith("e: is not made from c: its " + name)

    def test_a_manifest_at_odds_with_itself_is_refused(self) -> None:
        fewer = StateLayout(state_layout_of_spec(spec()).tensors[1:])
        with pytest.raises(EngineError, match="state is not that of the model it describes"):
            check(manifest(spec(), state=fewer), spec())
