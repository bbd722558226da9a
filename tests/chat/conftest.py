"""One engine to talk with for all tests of chat: an export takes ten seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import deltaport
from tests.tokenizers_like_qwen import save_qwen_like_tokenizer

VOCAB_SIZE = 700


@pytest.fixture(scope="session")
def chat_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers with random weights, a tokenizer and a template of the family's kind.

    Not to be written to.
    """
    folder = tmp_path_factory.mktemp("chat")
    checkpoint = save_checkpoint(folder / "checkpoint", kind="dense", vocab_size=VOCAB_SIZE)
    save_qwen_like_tokenizer(checkpoint, template="reasoning", vocab_size=VOCAB_SIZE)
    result = deltaport("export", checkpoint, "-o", folder / "engine")
    assert result.returncode == 0, result.stderr
    return folder / "engine"
