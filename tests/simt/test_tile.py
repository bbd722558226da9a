"""Products of tiles: what tensor cores do, emulated, and how accurate three together are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracles import Array, Doubles, doubles
from tests.simt.any_order import in_any_order
from tests.simt.test_narrow import floats
from tools.gpu_kernels.arguments import Mma, Rounding, TileProduct
from tools.gpu_kernels.kernel_library import KernelLibrary

LANES = np.arange(32)
GROUP, IN_GROUP = LANES // 4, LANES % 4
# Of each lane's registers, as PTX has them: (row, column).
LEFT = [(GROUP + 8 * (i % 2), IN_GROUP + 4 * (i // 2)) for i in range(4)]
RIGHT = [(IN_GROUP + 4 * i, GROUP) for i in range(2)]
SUM = [(GROUP + 8 * (i // 2), 2 * IN_GROUP + i % 2) for i in range(4)]
ROUNDOFF = 2.0**-24


def registers(matrix: Array, layout: list[tuple[Array, Array]]) -> Array:
    return np.stack([matrix[at] for at in layout], axis=1).astype(np.float32)


def mma(kernels: KernelLibrary, a: Array, b: Array, c: Array) -> Array:
    """c + a b by one instruction."""
    left, right, total = registers(a, LEFT), registers(b, RIGHT), registers(c, SUM)
    with kernels.lend() as memory:
        arguments = Mma(c=memory.writes(total), a=memory.reads(left), b=memory.reads(right))
        kernels.run("mma_m16n8k8", arguments)
    result = np.empty((16, 8), np.float32)
    for i, at in enumerate(SUM):
        result[at] = total[:, i]
    return result


def rounded(kernels: KernelLibrary, x: Array) -> Array:
    found = np.empty_like(x)
    with kernels.lend() as memory:
        source, to = memory.reads(x), memory.writes(found)
        kernels.run("round_tf32", Rounding(source=source, to=to, count=x.size))
    return found


def tile_product(kernels: KernelLibrary, a: Array, b: Array, c: Array) -> Array:
    def run() -> tuple[Array]:
        total = c.copy()
        with kernels.lend() as memory:
            arguments = TileProduct(
                left=memory.reads(a),
                right=memory.reads(b),
                sum=memory.writes(total),
                rows=a.shape[0],
                columns=b.shape[1],
                depth=a.shape[1],
            )
            kernels.run("tile_product", arguments)
        return (total,)

    return in_any_order(kernels, run)[0]


def within_tensor_cores(kernels: KernelLibrary, a: Array, b: Array, *, parts: int) -> Array:
    """a b of factors in ``parts`` of TF32, one or two, all of it summed by tensor cores."""
    high_a, high_b = rounded(kernels, a), rounded(kernels, b)
    low_a, low_b = rounded(kernels, a - high_a), rounded(kernels, b - high_b)
    pairs = [(low_a, high_b), (high_a, low_b), (high_a, high_b)]
    total = np.zeros((16, 8), np.float32)
    for k in range(0, a.shape[1], 8):
        for left, right in pairs if parts == 2 else pairs[2:]:
            total = mma(kernels, left[:, k : k + 8], right[k : k + 8], total)
    return total


def error_in_roundoffs(actual: Array, a: Array, b: Array) -> float:
    """The largest error, of an element, in roundoffs of the sum of its terms' magnitudes."""
    exact: Doubles = doubles(a) @ doubles(b)
    scale: Doubles = np.abs(doubles(a)) @ np.abs(doubles(b))
    return float((np.abs(actual - exact) / scale).max()) / ROUNDOFF


def test_rounds_to_the_nearest_and_ties_away_from_zero(kernels: KernelLibrary) -> None:
    x = floats()
    x = x[np.isfinite(x) & (np.abs(x) >= np.finfo(np.float32).tiny)]
    fraction, exponent = np.frexp(doubles(x))
    expected = np.copysign(np.floor(np.abs(fraction) * 2**11 + 0.5), x) * np.exp2(exponent - 11)
    with np.errstate(over="ignore"):
        assert (rounded(kernels, x) == expected.astype(np.float32)).all()


def test_what_is_no_number_stays_so(kernels: KernelLibrary) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0], np.float32)
    nan = np.array([0x7F800001], np.uint32).view(np.float32)
    np.testing.assert_array_equal(rounded(kernels, x), x)
    assert np.isnan(rounded(kernels, nan))


def test_registers_are_those_of_ptx(kernels: KernelLibrary) -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-99, 99, shape) for shape in ((16, 8), (8, 8), (16, 8)))
    assert (mma(kernels, a, b, c) == a @ b + c).all()


@pytest.mark.emulation
@pytest.mark.parametrize("sign", [1, -1])
def test_tensor_cores_cut_off(kernels: KernelLibrary, sign: int) -> None:
    ones = np.ones((8, 8))
    small = np.full((16, 8), sign * 2.0**-24)  # half a unit of 1's last place, eight times
    assert (mma(kernels, small, ones, np.full((16, 8), sign)) == sign).all()
    assert (mma(kernels, 2 * small, ones, np.full((16, 8), sign)) == sign * (1 + 2.0**-20)).all()
    large = np.full((16, 8), sign * (2**24 - 1))  # with 4 it has a bit too many
    four = np.zeros((16, 8))
    four[:, 3] = 4 * sign
    assert (mma(kernels, four, ones, large) == sign * (2**24 + 2)).all()


@pytest.mark.parametrize("depth", [8, 64, 128])
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_products_are_as_accurate_as_floats(
    kernels: KernelLibrary, scale: float, depth: int
) -> None:
    rng = np.random.default_rng(depth)
    a = (rng.normal(size=(16, depth)) * scale).astype(np.float32)
    b = rng.normal(size=(depth, 8)).astype(np.float32)
    product = tile_product(kernels, a, b, np.zeros((16, 8), np.float32))
    assert error_in_roundoffs(product, a, b) <= 4
    in_one = within_tensor_cores(kernels, a, b, parts=1)
    assert 1000 <= error_in_roundoffs(in_one, a, b) <= 2**14


def long_sum() -> tuple[Array, Array]:
    """Terms of one sign: what is cut off is always of that sign, too."""
    rng = np.random.default_rng(3)
    a, b = (rng.uniform(size=shape).astype(np.float32) for shape in ((16, 1024), (1024, 8)))
    return a, b


def test_long_sums_are_as_accurate_as_floats(kernels: KernelLibrary) -> None:
    a, b = long_sum()
    product = tile_product(kernels, a, b, np.zeros((16, 8), np.float32))
    assert error_in_roundoffs(product, a, b) <= 8


@pytest.mark.emulation
def test_long_sums_would_not_be_if_left_to_tensor_cores(kernels: KernelLibrary) -> None:
    a, b = long_sum()
    assert error_in_roundoffs(within_tensor_cores(kernels, a, b, parts=2), a, b) >= 100


def test_products_are_added_to_what_is_there(kernels: KernelLibrary) -> None:
    rng = np.random.default_rng(1)
    a, b, c = (
        rng.integers(-99, 99, shape).astype(np.float32) for shape in ((32, 16), (16, 40), (32, 40))
    )
    assert (tile_product(kernels, a, b, c) == a @ b + c).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_does_not_touch_others(kernels: KernelLibrary, bad: float) -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=(32, 16)).astype(np.float32)
    b = rng.normal(size=(16, 16)).astype(np.float32)
    c = np.zeros((32, 16), np.float32)
    clean = tile_product(kernels, a, b, c)
    a[5, 3] = bad
    product = tile_product(kernels, a, b, c)
    assert not np.isfinite(product[5]).any()
    others = np.arange(32) != 5
    assert (product[others] == clean[others]).all()
