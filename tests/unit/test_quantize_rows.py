"""Codes and scales: rightly laid out, no worse than plain rounding, the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.graph_passes.quantize.code_layout import (
    code_tiles,
    matrix_of_tiles,
    scale_tiles,
)
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.runtime.kernel_library import ISA_VARIABLE, supported_isas
from deltaport.weight_format import WeightFormat, parse_format
from tests.oracles.quantized_weights import pack_codes, pack_scales, unpacked

Doubles = NDArray[np.float64]
FORMATS = [
    WeightFormat(bits, block, asymmetric)
    for bits in (4, 8)
    for block in (32, 64, 128, 256)
    for asymmetric in (False, True)
]
every_format = pytest.mark.parametrize("stored", FORMATS, ids=str)


def plainly_rounded(values: NDArray[np.float32], stored: WeightFormat) -> Doubles:
    """Rounded by the least and the largest value of each block, with exact scales."""
    blocks = values.astype(np.float64).reshape(len(values), -1, stored.block)
    if stored.asymmetric:
        low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
        scale = (high - low) / (2**stored.bits - 1)
        rounded = np.rint((blocks - low) / scale) * scale + low
    else:
        scale = np.abs(blocks).max(-1, keepdims=True) / (2 ** (stored.bits - 1) - 1)
        rounded = np.rint(blocks / scale) * scale
    return rounded.reshape(values.shape)


def squared_error(found: Doubles, values: NDArray[np.float32]) -> Doubles:
    return ((found - values) ** 2).sum()


@every_format
@pytest.mark.parametrize("shape", ["normal", "heavy", "shifted"])
def test_the_search_loses_no_more_than_plain_rounding(stored: WeightFormat, shape: str) -> None:
    rng = np.random.default_rng(stored.block)
    values = {
        "normal": rng.standard_normal((48, 512)),
        "heavy": rng.standard_t(4, (48, 512)),
        "shifted": rng.standard_normal((48, 512)) + 0.5,
    }[shape].astype(np.float32)
    found = unpacked(*quantize_rows(values, stored))
    assert found.shape == values.shape
    lost = squared_error(found, values) / squared_error(plainly_rounded(values, stored), values)
    # 4 bits gain by the search; with 8 rounding the offset to bfloat16 may cost the last percent.
    assert lost < (0.95 if stored.bits == 4 else 1.02)


@every_format
def test_what_the_codes_can_hold_is_kept_exactly(stored: WeightFormat) -> None:
    rng = np.random.default_rng(1)
    least, most = (-8, 8) if stored.bits == 4 else (-127, 128)
    codes = rng.integers(least, most, (16, 512))
    codes[:, :: stored.block] = least  # so that the range of each block is the whole one
    codes[:, 1 :: stored.block] = most - 1
    scales = 2.0 ** rng.integers(-8, 8, (16, 512 // stored.block))
    values = (codes * np.repeat(scales, stored.block, 1)).astype(np.float32)
    np.testing.assert_array_equal(unpacked(*quantize_rows(values, stored)), values)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_layout_is_the_oracles(bits: int) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 2**bits, (48, 96), dtype=np.uint8)
    np.testing.assert_array_equal(code_tiles(codes, bits), pack_codes(codes, bits))
    scale, offset = rng.standard_normal((2, 48, 3))
    both = np.stack([scale, offset], -1)
    np.testing.assert_array_equal(scale_tiles(both), pack_scales(scale, offset))


@every_format
def test_a_matrix_is_what_the_oracle_unpacks(stored: WeightFormat) -> None:
    codes, scales = quantize_rows(
        np.random.default_rng(4).standard_normal((40, 300)).astype(np.float32), stored
    )
    expected = unpacked(codes, scales)
    found = matrix_of_tiles(codes, scales)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@every_format
def test_blocks_of_nothing_and_of_one_value(stored: WeightFormat) -> None:
    values = np.zeros((3, 512), np.float32)
    values[1] = 0.75
    values[2, 5] = -3
    found = unpacked(*quantize_rows(values, stored))
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], 0.75, rtol=2e-3)
    np.testing.assert_allclose(found[2], values[2], atol=0.03)
    np.testing.assert_array_equal(found[3:], 0)


@every_format
@pytest.mark.parametrize("magnitude", [1e-30, 1e-20, 1.0, 1e20, 3e38])
def test_weights_of_any_magnitude(stored: WeightFormat, magnitude: float) -> None:
    """Beyond float16's range, too: scales are bfloat16."""
    values = np.random.default_rng(3).uniform(-1, 1, (16, 512)) * magnitude
    found = unpacked(*quantize_rows(values.astype(np.float32), stored))
    bound = 0.15 if stored.bits == 4 else 0.012
    assert np.abs(found - values).max() <= bound * magnitude


def test_what_is_too_small_becomes_zero() -> None:
    values = np.full((16, 32), 1e-40, np.float32)
    np.testing.assert_array_equal(unpacked(*quantize_rows(values, WeightFormat(4))), 0)


@pytest.mark.parametrize("stored", [each for each in FORMATS if each.asymmetric], ids=str)
def test_padding_does_not_draw_an_offset_to_itself(stored: WeightFormat) -> None:
    values = np.random.default_rng(4).normal(5, 1, (16, stored.block + 8)).astype(np.float32)
    found = unpacked(*quantize_rows(values, stored))[:, : values.shape[1]]
    lost = np.abs(found - values)[:, stored.block :].max()
    assert lost < (0.25 if stored.bits == 4 else 0.02)


def test_the_largest_there_are() -> None:
    values = np.full((16, 32), np.finfo(np.float32).max, np.float32)
    for stored in (WeightFormat(4), WeightFormat(8), WeightFormat(8, 32, True)):
        _, scales = quantize_rows(values, stored)
        assert np.isfinite(scales.astype(np.float32)).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    stored=st.sampled_from(FORMATS),
    rows=st.integers(1, 40),
    inputs=st.integers(1, 600),
)
def test_any_shape(seed: int, stored: WeightFormat, rows: int, inputs: int) -> None:
    values = np.random.default_rng(seed).standard_normal((rows, inputs)).astype(np.float32)
    codes, scales = quantize_rows(values, stored)
    tiles, blocks = -(-rows // 16), -(-inputs // stored.block)
    assert codes.shape == (tiles, blocks * stored.block // 32, stored.bits, 64)
    assert scales.shape == (tiles, blocks, stored.numbers, 16)
    assert scales.dtype == ml_dtypes.bfloat16
    if stored.bits == 8:  # the lowest code is for no weight
        assert codes.min() > 0
    found = unpacked(codes, scales)
    error = np.abs(found[:rows, :inputs] - values).max() / np.abs(values).max()
    assert error < (0.2 if stored.bits == 4 else 0.02)
    if not stored.asymmetric:
        np.testing.assert_array_equal(found[rows:], 0)


def test_every_instruction_set_chooses_the_same_bytes() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from deltaport.graph_passes.quantize.quantize_rows import quantize_rows\n"
        "from deltaport.weight_format import parse_format\n"
        "x = np.random.default_rng(0).standard_normal((64, 768)).astype(np.float32)\n"
        "kinds = 'int4', 'int4 asymmetric', 'int4 block=128', 'int8', 'int8 asymmetric'\n"
        "parts = [a.tobytes() for kind in kinds for a in quantize_rows(x, parse_format(kind))]\n"
        "print(hashlib.sha256(b''.join(parts)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {ISA_VARIABLE: isa},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        for isa in supported_isas()
    }
    assert len(digests) == 1


def test_an_instruction_set_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, "avx9")
    with pytest.raises(InputError, match="DELTAPORT_ISA is 'avx9', but this machine runs: "):
        quantize_rows(np.ones((1, 32), np.float32), WeightFormat(4))


@every_format
def test_a_format_is_read_as_it_is_written(stored: WeightFormat) -> None:
    assert parse_format(str(stored)) == stored
    assert stored.bits_per_weight == stored.bits + 16 * stored.numbers / stored.block


@pytest.mark.parametrize(
    "text", ["int3", "int4 block=33", "int4 block=512", "int4, asymmetric", "float16", ""]
)
def test_what_is_no_format(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected int4 or int8, perhaps with block= one of 32,"):
        parse_format(text)
