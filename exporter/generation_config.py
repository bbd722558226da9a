"""What ``generation_config.json`` says about where a generated text ends.

transformers' ``generate`` takes its defaults from this file and, where there is one, nothing from
``config.json``. Other fields are not read: they choose among tokens, which is the caller's part.
"""

from __future__ import annotations

import os
from pathlib import Path

from deltaport.errors import ConfigError
from deltaport.exporter.config_fields import Fields, load_json_object
from deltaport.exporter.copied_files import problem_with_file
from deltaport.exporter.model_spec import ModelSpec

__all__ = ["GENERATION_CONFIG_NAME", "eos_token_ids"]

GENERATION_CONFIG_NAME = "generation_config.json"


def eos_token_ids(folder: Path, spec: ModelSpec) -> tuple[int, ...]:
    """The end tokens of a checkpoint folder: those of its generation file, else of ``spec``.

    A file that leaves them out, or null, leaves the word to ``config.json``. There transformers
    5.23 would run to the length limit; the model's own end token is never unwanted, and what comes
    before it is the same. Raises ConfigError when the file is malformed or an id is not in the
    vocabulary; transformers passes over such a file in silence.
    """
    file = folder / GENERATION_CONFIG_NAME
    if not os.path.lexists(file):
        return spec.eos_token_ids
    if (problem := problem_with_file(file)) is not None:
        raise ConfigError(f"{file}: {problem}")
    fields = Fields(load_json_object(file), source=str(file))
    found = fields.token_ids("eos_token_id", vocab_size=spec.vocab_size)
    return spec.eos_token_ids if found is None else found
