"""The sizes of a plan, and the shapes they allow its inputs."""

from __future__ import annotations

import pytest

from deltaport.errors import InputError
from deltaport.exporter.tensorrt.plan_options import DEFAULT_CONTEXT, PlanOptions
from deltaport.exporter.tensorrt.step_shapes import step_kinds
from deltaport.state_layout import StateLayout, StateTensor

LAYOUT = StateLayout(
    (
        StateTensor(0, "conv", "past.c", "present.c", ("slots", 3, 8), "bfloat16", "swap", False),
        StateTensor(
            1,
            "kv",
            "past.k",
            "present.k",
            ("slots", 2, "capacity", 4),
            "bfloat16",
            "in_place",
            True,
        ),
    )
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slots": 0}, "--slots is 0, expected a positive integer"),
        ({"prefill_tokens": -1}, "--prefill-tokens is -1, expected"),
        ({"context": 2**31}, "--context is 2147483648, expected"),
        ({"gpu": "89"}, "--gpu is '89', expected a compute capability such as sm89"),
        ({"gpu": "sm89x"}, "--gpu is 'sm89x'"),
        (
            {"gpu": "sm75", "plugins": "a.so"},
            "--gpu sm75: our plugins run on sm80 and newer; choose --target tensorrt-plain",
        ),
    ],
)
def test_bad_options(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PlanOptions(**given)  # type: ignore[arg-type]


def test_gpus_older_than_our_plugins_are_for_plans_without() -> None:
    assert PlanOptions(gpu="sm75").plugins is None
    for gpu in ("sm80", "sm120"):
        assert PlanOptions(gpu=gpu, plugins="a.so").gpu == gpu


def test_sequences_lie_where_tensorrt_takes_them() -> None:
    def layout(channels: int) -> StateLayout:
        shape = ("slots", 3, channels)
        names = ("past.0.conv", "present.0.conv", shape, "bfloat16", "in_place", False)
        return StateLayout((StateTensor(0, "conv", *names),))

    PlanOptions(slots=8).check_state(layout(128), 4096)
    PlanOptions(slots=1).check_state(layout(100), 4096)
    with pytest.raises(
        InputError, match=r"--slots is 8, but past.0.conv takes 600 bytes .*slots 1"
    ):
        PlanOptions(slots=8).check_state(layout(100), 4096)


def test_the_capacity_is_what_the_model_knows_at_most() -> None:
    assert PlanOptions().capacity(4096) == 4096
    assert PlanOptions().capacity(262144) == DEFAULT_CONTEXT
    assert PlanOptions(context=100000).capacity(262144) == 100000
    with pytest.raises(InputError, match="--context is 4097, expected at most 4096"):
        PlanOptions(context=4097).capacity(4096)
    with pytest.raises(InputError, match="--prefill-tokens is 512, expected at most 300, the tok"):
        PlanOptions(context=300).capacity(4096)


def test_every_input_has_the_shapes_of_each_kind_of_step() -> None:
    decode, prefill = (dict(kind.shapes(LAYOUT, 64)) for kind in step_kinds(8, 512))
    assert decode["input_ids"] == ((1, 1), (1, 1), (8, 1))
    assert decode["positions"] == ((3, 1, 1), (3, 1, 1), (3, 8, 1))
    assert decode["logit_index"] == ((1,), (1,), (8,))
    assert decode["past.k"] == ((1, 2, 64, 4), (1, 2, 64, 4), (8, 2, 64, 4))
    assert prefill["input_ids"] == ((1, 1), (1, 512), (1, 512))
    assert prefill["lengths"] == ((1,), (1,), (1,))
    assert prefill["logit_index"] == ((1,), (1,), (512,))
    assert prefill["past.c"] == ((1, 3, 8), (1, 3, 8), (1, 3, 8))
