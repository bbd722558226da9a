"""config.json in, ModelSpec or a one-line ConfigError out. Oracle: transformers."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5TextRotaryEmbedding

from deltaport.errors import ConfigError
from deltaport.exporter.config_fields import MAX_CONFIG_BYTES
from deltaport.exporter.model_spec import DenseMlpSpec, ModelSpec, SparseMoeSpec
from deltaport.exporter.torch_model.rotary import inverse_frequencies

CONFIG_CLASSES: dict[str, Any] = {
    "qwen3_5": transformers.Qwen3_5Config,
    "qwen3_5_text": transformers.Qwen3_5TextConfig,
    "qwen3_5_moe": transformers.Qwen3_5MoeConfig,
    "qwen3_5_moe_text": transformers.Qwen3_5MoeTextConfig,
}

SHARED_TEXT: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 4,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    },
}
DENSE_TEXT: dict[str, Any] = {**SHARED_TEXT, "model_type": "qwen3_5_text", "intermediate_size": 48}
MOE_TEXT: dict[str, Any] = {
    **SHARED_TEXT,
    "model_type": "qwen3_5_moe_text",
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20,
}
# As published: every field of the released Qwen3.5 checkpoints, with small numbers.
DENSE_WRAPPED: dict[str, Any] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "image_token_id": 90,
    "model_type": "qwen3_5",
    "text_config": {
        **DENSE_TEXT,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_output_gate": True,
        "dtype": "bfloat16",
        "eos_token_id": 88,
        "full_attention_interval": 4,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "mamba_ssm_dtype": "float32",
        "max_position_embeddings": 262144,
        "mlp_only_layers": [],
        "mtp_num_hidden_layers": 1,
        "mtp_use_dedicated_embeddings": False,
        "partial_rotary_factor": 0.5,
        "use_cache": True,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 91,
    "vision_config": {"depth": 2, "hidden_size": 16},
    "vision_end_token_id": 93,
    "vision_start_token_id": 92,
}
SMALL_VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 16,
    "patch_size": 4,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}
MOE_WRAPPED: dict[str, Any] = {
    "model_type": "qwen3_5_moe",
    "text_config": MOE_TEXT,
    "vision_config": {},
}
SMALL_CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_5": DENSE_WRAPPED,
    "qwen3_5_text": DENSE_TEXT,
    "qwen3_5_moe": MOE_WRAPPED,
    "qwen3_5_moe_text": MOE_TEXT,
}


def read(config: dict[str, Any], **changes: Any) -> ModelSpec:
    return ModelSpec.from_config({**config, **changes}, source="config.json")


def with_rope(**rope: Any) -> dict[str, Any]:
    return {**DENSE_TEXT, "rope_parameters": rope}


def assert_one_line(error: BaseException) -> None:
    message = str(error)
    assert message
    assert message.isprintable(), message


# ---------------------------------------------------------------- against transformers


@pytest.mark.parametrize("model_type", CONFIG_CLASSES)
def test_saved_transformers_config_is_read(model_type: str, tmp_path: Path) -> None:
    config = CONFIG_CLASSES[model_type]()
    config.save_pretrained(tmp_path)
    spec = ModelSpec.from_checkpoint(tmp_path)
    text = config.get_text_config()

    assert spec == ModelSpec.from_checkpoint(tmp_path / "config.json")
    assert spec.model_type == text.model_type
    assert spec.wrapped == spec.has_vision == (not model_type.endswith("_text"))
    assert spec.num_layers == text.num_hidden_layers
    assert list(spec.layer_kinds) == text.layer_types
    assert spec.rms_norm_eps == text.rms_norm_eps
    assert spec.max_position_embeddings == text.max_position_embeddings
    assert (spec.vocab_size, spec.hidden_size) == (text.vocab_size, text.hidden_size)
    assert spec.linear_attention.conv_dim == 2 * 16 * 128 + 32 * 128
    assert spec.is_moe == ("moe" in model_type)
    assert (spec.mtp_layers, spec.eos_token_ids) == (0, ())


@pytest.mark.parametrize("model_type", CONFIG_CLASSES)
def test_every_common_transformers_field_is_known(model_type: str) -> None:
    # to_dict also holds the fields save_pretrained leaves out at their defaults.
    config = json.loads(json.dumps(CONFIG_CLASSES[model_type]().to_dict()))
    ModelSpec.from_config(config, source="config.json")


@pytest.mark.parametrize("model_type", CONFIG_CLASSES)
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    config = copy.deepcopy(SMALL_CONFIGS[model_type])
    text = config.get("text_config", config)
    for name in ("rms_norm_eps", "rope_parameters", "layer_types", "max_position_embeddings"):
        text.pop(name, None)
    text.pop("partial_rotary_factor", None)
    spec = read(config)
    theirs = CONFIG_CLASSES[model_type](**copy.deepcopy(config)).get_text_config()

    assert spec.rms_norm_eps == theirs.rms_norm_eps
    assert spec.max_position_embeddings == theirs.max_position_embeddings
    assert spec.attention.bias == theirs.attention_bias
    assert list(spec.layer_kinds) == theirs.layer_types
    assert spec.rope.theta == theirs.rope_parameters["rope_theta"]
    assert spec.rope.rotary_dim == int(16 * theirs.rope_parameters["partial_rotary_factor"])


def test_positions_extended_by_yarn() -> None:
    yarn = {**YARN, "factor": 2.5, "original_max_position_embeddings": 101}
    assert read(with_rope(**yarn), max_position_embeddings=64).max_positions == 252
    assert read(with_rope(**yarn), max_position_embeddings=1000).max_positions == 1000
    assert read(DENSE_TEXT, max_position_embeddings=64).max_positions == 64
    huge = {**YARN, "factor": 1e6, "original_max_position_embeddings": 2**31 - 1}
    assert read(with_rope(**huge)).max_positions == 2**31 - 1  # what a manifest can hold


def rotary_of(config: dict[str, Any]) -> Any:
    return Qwen3_5TextRotaryEmbedding(transformers.Qwen3_5TextConfig(**copy.deepcopy(config)))


def assert_rope_matches(config: dict[str, Any]) -> None:
    rope, theirs = read(config).rope, rotary_of(config)
    assert torch.equal(inverse_frequencies(rope), theirs.inv_freq)
    assert rope.attention_scaling == pytest.approx(theirs.attention_scaling, rel=1e-12)

    half = rope.rotary_dim // 2
    one_per_axis = torch.arange(3.0)[:, None, None, None].expand(3, 1, 1, half).clone()
    axes = theirs.recomposition_frequencies(one_per_axis)[0, 0, :half]
    assert list(rope.axis_of_frequency()) == axes.int().tolist()


YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 262144,
}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 10000.0},
        {"rope_theta": 10000000, "rope_type": "default", "partial_rotary_factor": 0.25},
        {"type": "default", "rope_theta": 5e5},
        YARN,
        {**YARN, "rope_theta": 1e7, "truncate": False},
        {**YARN, "factor": 1000.0, "truncate": False, "beta_fast": 12, "beta_slow": 0.3},
        {**YARN, "mscale": 0.7, "mscale_all_dim": 1.3},
        {**YARN, "mscale": 0.7},
        {**YARN, "mscale": 0.0, "mscale_all_dim": 1.0},
        {**YARN, "attention_factor": 1.25, "mscale": 0.7, "mscale_all_dim": 1.3},
        {**YARN, "factor": 1},
        {**YARN, "beta_fast": 2.0, "beta_slow": 2.0, "truncate": False},
        {**YARN, "beta_fast": 0, "beta_slow": None},
        {**YARN, "original_max_position_embeddings": 4},  # every frequency below the blend
    ],
)
@pytest.mark.parametrize("section", [[11, 11, 10], [2, 1, 1], [0, 0, 0], [1, 99, 0], [8, 3, 40]])
def test_rope_matches_transformers(rope: dict[str, Any], section: list[int]) -> None:
    assert_rope_matches({**with_rope(**rope, mrope_section=section), "head_dim": 256})


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    head_dim=st.sampled_from([8, 24, 64, 128, 256]),
    fraction=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    theta=st.floats(1.5, 1e8),
    yarn=st.none()
    | st.fixed_dictionaries(
        {
            "factor": st.floats(1, 1000),
            "original_max_position_embeddings": st.integers(64, 2**20),
            "beta_fast": st.floats(8, 64),
            "beta_slow": st.floats(0.01, 8),
            "truncate": st.booleans(),
        }
    ),
    section=st.lists(st.integers(0, 50), min_size=3, max_size=3),
)
def test_any_rope_matches_transformers(
    head_dim: int, fraction: float, theta: float, yarn: dict[str, Any] | None, section: list[int]
) -> None:
    rope = {"rope_type": "yarn", **yarn} if yarn else {"rope_type": "default"}
    rope |= {"rope_theta": theta, "partial_rotary_factor": fraction, "mrope_section": section}
    if int(head_dim * fraction) % 2:
        return
    assert_rope_matches({**with_rope(**rope), "head_dim": head_dim})


def test_older_rope_spelling_means_the_same() -> None:
    old = {name: value for name, value in DENSE_TEXT.items() if name != "rope_parameters"}
    old |= {
        "rope_theta": 1e6,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {
            "type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": 4096,
            "mrope_section": [2, 1, 1],
        },
    }
    assert_rope_matches(old)
    rope = read(old).rope
    assert (rope.type, rope.theta, rope.rotary_dim) == ("yarn", 1e6, 8)
    nested = {**old.pop("rope_scaling"), "rope_theta": 1e6, "partial_rotary_factor": 0.5}
    # Inside the object wins over beside it.
    assert read(old, rope_parameters=nested, rope_theta=77.0, partial_rotary_factor=1).rope == rope


# ---------------------------------------------------------------- meaning of the fields


def test_all_fields_of_a_wrapped_config() -> None:
    spec = read(DENSE_WRAPPED)
    assert spec.wrapped
    assert spec.has_vision
    assert spec.tie_word_embeddings
    assert spec.mlp == DenseMlpSpec(48)
    assert spec.mtp_layers == 1
    assert spec.eos_token_ids == (88,)
    assert spec.max_position_embeddings == 262144
    assert spec.layers_of("full_attention") == (3,)
    linear = spec.linear_attention
    assert (linear.key_dim, linear.value_dim, linear.conv_dim) == (16, 24, 56)


def test_sparse_fields() -> None:
    spec = read(MOE_WRAPPED)
    assert spec.is_moe
    assert spec.mlp == SparseMoeSpec(8, 3, 12, 20)
    assert not spec.tie_word_embeddings


def test_layer_types_win_over_the_interval() -> None:
    kinds = ["full_attention", "linear_attention", "linear_attention", "full_attention"]
    assert list(read(DENSE_TEXT, layer_types=kinds, full_attention_interval=2).layer_kinds) == kinds
    every_second = read(DENSE_TEXT, full_attention_interval=2).layer_kinds
    assert every_second == ("linear_attention", "full_attention") * 2
    assert set(read(DENSE_TEXT, full_attention_interval=1).layer_kinds) == {"full_attention"}


@pytest.mark.parametrize(
    ("outer", "inner", "tied"),
    [
        (True, None, True),
        (True, False, True),
        (True, True, True),
        (False, None, False),
        (False, True, False),
        (None, True, False),
        (None, None, False),
    ],
)
def test_outer_tie_alone_decides(outer: bool | None, inner: bool | None, tied: bool) -> None:
    config = copy.deepcopy(DENSE_WRAPPED)
    del config["tie_word_embeddings"]
    if outer is not None:
        config["tie_word_embeddings"] = outer
    if inner is not None:
        config["text_config"]["tie_word_embeddings"] = inner
    assert read(config).tie_word_embeddings is tied
    theirs = transformers.Qwen3_5ForConditionalGeneration(
        transformers.Qwen3_5Config(**copy.deepcopy(config) | {"vision_config": SMALL_VISION})
    )
    assert (theirs.lm_head.weight is theirs.get_input_embeddings().weight) is tied


def test_eos_token_ids() -> None:
    assert read(DENSE_TEXT, eos_token_id=[3, 5]).eos_token_ids == (3, 5)
    assert read(DENSE_TEXT, eos_token_id=None).eos_token_ids == ()
    assert read(DENSE_TEXT, eos_token_id=95).eos_token_ids == (95,)
    assert read(DENSE_WRAPPED, eos_token_id=7).eos_token_ids == (7,)


def test_no_vision_tower() -> None:
    without = {name: value for name, value in DENSE_WRAPPED.items() if name != "vision_config"}
    assert not read(without).has_vision
    assert not read(without, vision_config=None).has_vision


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, 'model_type is "llama"; expected one of qwen3_5, qwen3_5_text,'),
        ({"model_type": ["qwen3_5"]}, "model_type is a list; expected one of"),
        (
            {"architectures": ["Qwen3_5ForSequenceClassification"]},
            'contains "Qwen3_5ForSequenceClassification"; expected Qwen3_5ForCausalLM or',
        ),
        ({"architectures": "Qwen3_5ForCausalLM"}, "architectures is"),
        ({"hidden_act": "gelu"}, 'hidden_act is "gelu"; only "silu" is supported'),
        ({"attn_output_gate": False}, "attn_output_gate is false; only true is supported"),
        ({"attn_output_gate": 1}, "attn_output_gate is 1; only true"),
        ({"norm_topk_prob": False}, "norm_topk_prob is false"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step is 2; only 1 is supported"),
        ({"mamba_ssm_dtype": "bfloat16"}, 'mamba_ssm_dtype is "bfloat16"; only "float32"'),
        ({"output_gate_type": "sigmoid"}, 'only "silu" or "swish" is supported'),
        ({"sliding_window": 4096}, "sliding_window is 4096"),
        ({"use_sliding_window": True}, "use_sliding_window is true"),
        ({"mlp_only_layers": [0]}, "mlp_only_layers is a list"),
        ({"attn_logit_softcapping": 30.0}, "attn_logit_softcapping is 30.0"),
        ({"quantization_config": {"bits": 4}}, "export the unquantized checkpoint"),
        ({"original_max_position_embeddings": 9}, "give it inside rope_parameters"),
        ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim is 1; expected an integer from 2"),
        ({"hidden_size": 4096.0}, "hidden_size is 4096.0; expected an integer from 1 to"),
        ({"hidden_size": True}, "hidden_size is true"),
        ({"hidden_size": "4096"}, 'hidden_size is "4096"'),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": 2**31}, "vocab_size is 2147483648; expected an integer from 1 to 2147483"),
        ({"vocab_size": 10**5000}, "vocab_size is a huge integer"),
        ({"num_hidden_layers": 2**30}, "num_hidden_layers is 1073741824"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps is 0.0; expected a number above 0"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps is NaN"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps is Infinity"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000"),
        ({"attention_bias": 1}, "attention_bias is 1; expected true or false"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is null; expected true or false"),
        ({"num_attention_heads": 5}, "expected a multiple of num_key_value_heads (2)"),
        ({"linear_num_value_heads": 3}, "expected a multiple of linear_num_key_heads (2)"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries; expected num_hidden_lay"),
        ({"layer_types": ["full_attention"] * 3 + ["mamba"]}, 'layer_types[3] is "mamba"'),
        ({"layer_types": "full_attention"}, "layer_types is"),
        ({"full_attention_interval": 0}, "full_attention_interval is 0"),
        ({"eos_token_id": -1}, "eos_token_id holds -1; expected token ids below vocab_size (96)"),
        ({"eos_token_id": 96}, "eos_token_id holds 96; expected token ids below vocab_size (96)"),
        ({"eos_token_id": [3, 96]}, "eos_token_id holds 96"),
        ({"eos_token_id": [True]}, "eos_token_id holds true"),
        ({"eos_token_id": "</s>"}, "eos_token_id holds"),
        ({"mtp_num_hidden_layers": -1}, "mtp_num_hidden_layers is -1"),
        ({"rope_parameters": []}, "rope_parameters is a list; expected an object"),
        ({"rope_parameters": 0}, "rope_parameters is 0; expected an object"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling is given beside rope_parameters"),
        ({"clip_qkv": 8.0}, "clip_qkv is unknown to deltaport and set to 8.0; if it does not"),
        ({"a\nb\ud800": [1]}, "--accept-config-field a\\nb\\ud800"),
        ({"x" * 9999: 1}, "xxx... is unknown to deltaport"),
        ({3: "x"}, "a field named by a int is not JSON"),
    ],
)
def test_unsupported_field_is_named(changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({**DENSE_TEXT, **changes})
    assert str(caught.value).startswith("config.json: ")
    assert message in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "linear"}, 'rope_type is "linear"; only "default" and "yarn"'),
        ({"type": "mrope"}, 'rope_parameters.type is "mrope"'),
        ({"type": "yarn", "rope_type": "default"}, 'type is "yarn" but rope_type is "default"'),
        ({"rope_type": None}, "rope_type is null; expected a string"),
        ({"mrope_interleaved": False}, "mrope_interleaved is false; only true is supported"),
        ({"short_factor": [1]}, "short_factor is not a rope field deltaport knows"),
        ({"factor": 2.0}, 'factor is set, but rope_type is "default"'),
        ({"rope_theta": 1}, "rope_theta is 1; expected a number above 1"),
        ({"rope_theta": None}, "rope_theta is null"),
        ({"partial_rotary_factor": 0}, "partial_rotary_factor is 0"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor is 1.5"),
        ({"partial_rotary_factor": 0.2}, "rotates 3 of head_dim 16 components"),
        ({"partial_rotary_factor": 0.01}, "rotates 0 of head_dim 16 components"),
        ({"mrope_section": [1, 2]}, "mrope_section is malformed"),
        ({"mrope_section": [1, 2, -3]}, "mrope_section is malformed"),
        ({"mrope_section": None}, "mrope_section is null; expected a list"),
        ({"rope_type": "yarn", "factor": 2.0}, "original_max_position_embeddings is missing"),
        ({"rope_type": "yarn", "original_max_position_embeddings": 9}, "factor is missing"),
        ({**YARN, "factor": None}, "factor is null"),
        ({**YARN, "factor": 0.5}, "factor is 0.5; expected a number of at least 1"),
        ({**YARN, "beta_fast": 1, "beta_slow": 2}, "beta_fast is 1; expected at least beta_slow"),
        ({**YARN, "beta_slow": 1e-300}, "beta_slow is 1e-300"),
        ({**YARN, "truncate": None}, "truncate is null; expected true or false"),
        ({**YARN, "attention_factor": 0}, "attention_factor is 0; expected a number above 0"),
        ({**YARN, "mscale": -1}, "mscale is -1"),
    ],
)
def test_rope_error_names_the_field(rope: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(with_rope(**rope))
    assert "rope_parameters." in str(caught.value)
    assert message in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("config", [DENSE_TEXT, MOE_TEXT], ids=["dense", "moe"])
def test_missing_shape_field_is_named(config: dict[str, Any]) -> None:
    optional = {"rms_norm_eps", "rope_parameters"}
    for name in set(config) - optional:
        with pytest.raises(ConfigError, match=f"{name} is missing"):
            read({other: value for other, value in config.items() if other != name})


def test_nested_field_is_named_with_its_object() -> None:
    config = copy.deepcopy(DENSE_WRAPPED)
    config["text_config"]["hidden_act"] = "gelu"
    with pytest.raises(ConfigError, match=r'^/x/config\.json: text_config\.hidden_act is "gelu"'):
        ModelSpec.from_config(config, source="/x/config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": None}, "text_config is null; expected an object"),
        ({"text_config": MOE_TEXT}, 'text_config.model_type is "qwen3_5_moe_text"; expected "qwen'),
        ({"vision_config": [1]}, "vision_config is a list; expected an object"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is an object"),
        ({"hidden_size": 64}, "hidden_size is unknown to deltaport"),
    ],
)
def test_wrapper_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({**DENSE_WRAPPED, **changes})
    assert message in str(caught.value)


def test_more_experts_per_token_than_experts() -> None:
    with pytest.raises(ConfigError, match=r"num_experts_per_tok is 9; expected at most num_exp"):
        read(MOE_TEXT, num_experts_per_tok=9)


@pytest.mark.parametrize("unset", [None, False, 0, 0.0, "", [], {}])
def test_unset_unknown_field_is_ignored(unset: object) -> None:
    assert read(DENSE_TEXT, brand_new=unset) == read(DENSE_TEXT)


def test_unknown_field_can_be_accepted_by_the_name_in_the_error() -> None:
    config = copy.deepcopy(DENSE_WRAPPED)
    config["text_config"]["brand_new"] = 1
    with pytest.raises(ConfigError, match=r"--accept-config-field text_config\.brand_new$"):
        read(config)
    accepted = ModelSpec.from_config(config, source="c", accept_fields=["text_config.brand_new"])
    assert accepted == read(DENSE_WRAPPED)
    with pytest.raises(ConfigError, match="hidden_act"):  # known to matter: cannot be accepted
        ModelSpec.from_config(
            {**DENSE_TEXT, "hidden_act": "relu"}, source="c", accept_fields=["hidden_act"]
        )


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"[1]", "holds a list; expected a JSON object"),
        (b"null", "holds null; expected a JSON object"),
        (b'{"a": NaN}', "contains NaN"),
        (b'{"a": -Infinity}', "contains -Infinity"),
        (b"\xff\xfe{", "is not UTF-8 text (byte 0)"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too many digits"),
        (b" " * (MAX_CONFIG_BYTES + 1), "is larger than 16 MiB"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else "",
)
def test_unreadable_file(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        ModelSpec.from_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert_one_line(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: no such file"):
        ModelSpec.from_checkpoint(tmp_path)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="is not a regular file"):
        ModelSpec.from_checkpoint(tmp_path)
    for path in (Path("/dev/zero"), Path("nul\0"), Path("x" * 5000), tmp_path / "a\nb"):
        with pytest.raises(ConfigError) as caught:
            ModelSpec.from_checkpoint(path)
        assert_one_line(caught.value)


def test_last_duplicate_key_counts(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"vocab_size": 5, ' + json.dumps(DENSE_TEXT)[1:])
    assert ModelSpec.from_checkpoint(file).vocab_size == 96


# ---------------------------------------------------------------- to_json and from_json


def through_json(spec: ModelSpec) -> ModelSpec:
    return ModelSpec.from_json(json.loads(json.dumps(spec.to_json())), source="manifest.json")


@pytest.mark.parametrize("model_type", CONFIG_CLASSES)
def test_json_round_trip(model_type: str) -> None:
    spec = read(SMALL_CONFIGS[model_type])
    assert through_json(spec) == spec
    yarn = ModelSpec.from_config(with_rope(**YARN, mscale=0.5), source="config.json")
    assert through_json(yarn) == yarn


def test_rotary_dim_survives_the_round_trip() -> None:
    # 0.28 * 50 and the like: rotary_dim / head_dim need not multiply back exactly.
    for head_dim in range(2, 200):
        for rotary_dim in range(2, head_dim + 1, 2):
            fraction = math.nextafter(rotary_dim / head_dim, 2.0)
            config = with_rope(partial_rotary_factor=min(fraction, 1.0))
            spec = read(config, head_dim=head_dim)
            assert spec.rope.rotary_dim == rotary_dim
            assert ModelSpec.from_json(spec.to_json(), source="m") == spec


def test_json_must_be_as_written() -> None:
    data = read(DENSE_WRAPPED).to_json()
    text = {k: v for k, v in DENSE_WRAPPED["text_config"].items() if k != "rms_norm_eps"}
    with pytest.raises(ConfigError, match=r"^m: text_config is not as deltaport writes it"):
        ModelSpec.from_json({**data, "text_config": text}, source="m")
    with pytest.raises(ConfigError, match=r"extra is unknown to deltaport and set to 1$"):
        ModelSpec.from_json({**data, "extra": 1}, source="m")
    with pytest.raises(ConfigError, match="m: content is a list; expected an object"):
        ModelSpec.from_json([], source="m")  # type: ignore[arg-type]


# ---------------------------------------------------------------- any JSON at all

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2, 3, 8, 2**31, -1, 10**30])
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["silu", "yarn", "default", "full_attention", "qwen3_5_moe"])
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    sorted(
        {*DENSE_WRAPPED, *DENSE_WRAPPED["text_config"], *MOE_TEXT, *MOE_TEXT["rope_parameters"]}
        | {*YARN, "rope_scaling", "rope_theta", "truncate", "beta_slow", "mscale", "architectures"}
    )
) | st.text(max_size=8)


def objects_in(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        return []
    return [value] + [found for inner in value.values() for found in objects_in(inner)]


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(
    base=st.sampled_from(sorted(SMALL_CONFIGS)),
    yarn=st.booleans(),
    edits=st.lists(st.tuples(st.integers(0, 9), NAMES, st.booleans(), ANY_JSON), max_size=3),
)
def test_any_config_is_a_spec_or_a_config_error(
    base: str, yarn: bool, edits: list[tuple[int, str, bool, Any]]
) -> None:
    config = copy.deepcopy(SMALL_CONFIGS[base])
    if yarn:
        config.get("text_config", config)["rope_parameters"] |= YARN
    for where, name, delete, value in edits:
        targets = objects_in(config)
        target = targets[where % len(targets)]
        if delete:
            target.pop(name, None)
        else:
            target[name] = value
    try:
        spec = read(config)
    except ConfigError as error:
        assert_one_line(error)
        return
    assert ModelSpec.from_json(spec.to_json(), source="manifest.json") == spec
    if spec.rope.rotary_dim <= 4096:
        frequencies = inverse_frequencies(spec.rope)
        assert len(frequencies) == len(spec.rope.axis_of_frequency()) == spec.rope.rotary_dim // 2
        assert ((frequencies >= 0) & (frequencies <= 1)).all()
        assert spec.rope.attention_scaling > 0


@settings(max_examples=200, derandomize=True, deadline=None)
@given(ANY_JSON)
def test_any_json_value_is_handled(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelSpec.from_config(value, source="config.json")
    assert_one_line(caught.value)
