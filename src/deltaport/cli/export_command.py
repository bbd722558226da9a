"""``deltaport export``: a checkpoint folder in, an engine folder out."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, cast

import click

from deltaport.errors import InputError
from deltaport.graph_passes.target_capabilities import TARGETS

from .paths import check_exported

if TYPE_CHECKING:
    from deltaport.exporter.export import StorageDtype
    from deltaport.package import Manifest

__all__ = ["export"]

_NEEDED = ("ml_dtypes", "onnx", "onnx_ir", "onnxscript", "torch")
"""What the extra ``deltaport[export]`` installs, as it is imported."""


@click.command(
    short_help="Compile a checkpoint folder into an engine folder.",
    epilog="""\b
Examples:
  deltaport export Qwen3.5-0.8B -o qwen.engine
  deltaport export Qwen3.5-0.8B -o qwen.engine --dtype float32 --overwrite
""",
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to write. It appears whole or not at all.",
)
@click.option(
    "--target",
    default="portable",
    show_default=True,
    type=click.Choice(list(TARGETS)),
    help="What the engine will run on. "
    + " ".join(f"'{row.name}': {row.summary}." for row in TARGETS.values()),
)
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="How matrices are stored. 'auto' keeps what the checkpoint stores.",
)
@click.option("--overwrite", is_flag=True, help="Replace an engine that is there already.")
@click.option(
    "--accept-config-field",
    "accept_fields",
    multiple=True,
    metavar="NAME",
    help="Ignore a field of config.json that deltaport does not know. Repeat for several.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def export(
    checkpoint: Path,
    output: Path,
    target: str,
    dtype: str,
    overwrite: bool,
    accept_fields: tuple[str, ...],
    quiet: bool,
) -> None:
    """Compile the Hugging Face CHECKPOINT folder into an engine folder.

    Weights are streamed: memory stays small, however large the model is. An engine that is
    replaced stays in place until the new one is complete.
    """
    check_exported(checkpoint)
    _check_installed()
    from deltaport.exporter.export import export_checkpoint

    from .export_progress import ExportProgress

    start = time.monotonic()
    with ExportProgress(quiet=quiet) as progress:
        manifest = export_checkpoint(
            checkpoint,
            output,
            target=target,
            dtype=cast("StorageDtype", dtype),
            overwrite=overwrite,
            accept_fields=accept_fields,
            events=progress.events,
        )
    if not quiet:
        _print_summary(output, manifest, time.monotonic() - start)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"exporting needs {', '.join(missing)}, not installed here; install with: "
            "pip install 'deltaport[export]'"
        )


def _print_summary(output: Path, manifest: Manifest, seconds: float) -> None:
    from deltaport.exporter.model_size import active_parameter_count, parameter_count
    from deltaport.exporter.model_spec import ModelSpec
    from deltaport.text import TOKENIZER_NAME

    from .console import print_table, write_text
    from .facts import folder_bytes
    from .formatting import format_bytes, format_count, format_seconds
    from .wording import describe_layers, describe_left_out

    spec = ModelSpec.from_json(manifest.model, source=str(output))
    total, active = parameter_count(spec), active_parameter_count(spec)
    has_text = any(entry.path == TOKENIZER_NAME for entry in manifest.files)
    prompt = '-p "Once upon a time"' if has_text else '--ids "1,2,3"'
    print_table(
        str(output),
        [
            ("model", f"{spec.model_type}, {describe_layers(spec)}"),
            ("parameters", f"{format_count(total)}, {format_count(active)} active a token"),
            ("stored as", f"{manifest.dtype}, for {manifest.target} engines"),
            ("size", format_bytes(folder_bytes(output, manifest))),
            ("not exported", describe_left_out(manifest.not_exported)),
            ("time", format_seconds(seconds)),
        ],
    )
    # Not in the table, which would break a long line, and nobody could copy it.
    write_text(f"  try           deltaport run {quote(str(output))} {prompt}\n")
