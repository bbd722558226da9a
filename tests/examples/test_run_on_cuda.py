"""The CUDA example, as far as a machine without a GPU can tell."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from examples import run_on_cuda


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert run_on_cuda.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [run_on_cuda.NO_CUDA]


def test_what_it_compares(tmp_path: Path) -> None:
    """The same engine on the CPU: in float32 it must be what the portable one is."""
    found = run_on_cuda.compare(run_on_cuda.CHECKPOINT, tmp_path, "float32", "cpu")
    assert found.error <= found.bound == 1e-4
    assert found.same_tokens == found.new_tokens == run_on_cuda.NEW_TOKENS
    assert min(found.prefill_rate, found.decode_rate) > 0
