"""What an engine holds in half precision, told in float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from deltaport.verify.engine_run import in_float32


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_are_those_the_engine_has(dtype: str) -> None:
    values = np.array([[1.5, -0.25], [3.0, 1024.0]], np.float32)
    held = values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    array = held.view(np.uint16) if dtype == "bfloat16" else held
    found = in_float32(array, dtype)
    assert found.dtype == np.float32
    assert np.array_equal(found, values)
    assert not np.shares_memory(found, array)
