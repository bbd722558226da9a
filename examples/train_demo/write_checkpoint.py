"""Turn what was trained into a checkpoint folder.

Run from the repository: python -m examples.train_demo.write_checkpoint WORK FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from examples.train_demo.config import CONFIG
from examples.train_demo.data import CALIBRATION, HELD_OUT, RECORD, TOKENIZER
from examples.train_demo.tokenizer import END_OF_TEXT
from examples.train_demo.training import STATE

GENERATION_CONFIG = {
    "do_sample": True,
    "temperature": 0.8,
    "top_p": 0.95,
    "eos_token_id": CONFIG["eos_token_id"],
}

# The model has seen nothing but Python files, so a conversation is written as one: what the user
# says is a comment, what the model says is the code behind it.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- message.content ~ '\\n\\n\\n' }}
    {%- else %}
        {{- '# ' ~ message.content | replace('\\n', '\\n# ') ~ '\\n' }}
    {%- endif %}
{%- endfor %}
"""


def main() -> None:
    """Write the folder; files of an earlier training are replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    work, folder = arguments.work, arguments.folder
    state = torch.load(work / STATE, weights_only=True)
    if state["step"] < state["steps"]:
        parser.error(f"{work}: training is not done")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.bfloat16().contiguous() for name, tensor in state["model"].items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in (TOKENIZER, HELD_OUT, CALIBRATION, RECORD):
        shutil.copyfile(work / name, folder / name)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    _write_json(folder / "config.json", CONFIG)
    _write_json(folder / "generation_config.json", GENERATION_CONFIG)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(work / TOKENIZER))


def _tokenizer_config(file: Path) -> dict[str, Any]:
    added = Tokenizer.from_file(str(file)).get_added_tokens_decoder()
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(i): {flag: getattr(token, flag) for flag in flags} for i, token in added.items()
        },
        "bos_token": None,
        "eos_token": END_OF_TEXT,
        "model_max_length": CONFIG["max_position_embeddings"],
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
