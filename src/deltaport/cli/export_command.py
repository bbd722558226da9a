"""``deltaport export``: a checkpoint folder in, an engine folder out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, cast

import click

from deltaport.errors import InputError, PassError
from deltaport.graph_passes.quantize.quantization_recipe import shipped_recipes
from deltaport.graph_passes.target_capabilities import TARGETS

from .installed import check_installed
from .options import accept_fields_option, json_option, passes_option, quiet_option
from .paths import check_exported
from .plan_options import chosen_plan, plan_options
from .text_file import read_text

if TYPE_CHECKING:
    from deltaport.exporter.export import StorageDtype

    from .model_facts import Facts

__all__ = ["export"]

_NEEDED = ("ml_dtypes", "onnx", "onnx_ir", "onnxscript", "torch")
"""What the extra ``deltaport[export]`` installs, as it is imported."""


@click.command(
    short_help="Compile a checkpoint folder into an engine folder.",
    epilog="""\b
Examples:
  deltaport export Qwen3.5-0.8B -o qwen.engine
  deltaport export Qwen3.5-0.8B -o qwen.engine --dtype float32 --overwrite
  deltaport export Qwen3.5-0.8B -o qwen-int4.engine --quantize int4 --text book.txt
  deltaport export Qwen3.5-0.8B -o qwen.trt --target tensorrt --plugins libdeltaport_tensorrt.so
  deltaport export Qwen3.5-0.8B --dry-run
  deltaport export Qwen3.5-0.8B --dry-run --dump-dir graphs
""",
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to write. It appears whole or not at all. Required, but for a dry run.",
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
@click.option(
    "--quantize",
    metavar="RECIPE",
    help="Store matrices in 4 or 8 bits, by a recipe that says which: 'int8', 'int4' (8 for "
    "projections of the gated delta rule), 'int4-all', 'fp8' (for TensorRT), or a TOML file of "
    "your own. For all targets but ort-cuda.",
)
@click.option(
    "--text",
    metavar="FILE",
    help="With --quantize: measure on this text, UTF-8, what quantizing costs. Exports the same "
    "engine without it, too, for as long as that takes. '-' reads the text from stdin.",
)
@plan_options
@passes_option(
    required=False, meaning="Graph passes to run in place of those the target has by default."
)
@click.option(
    "--dump-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the graph as text as it was traced and after each pass, into a new or empty "
    "folder. 'deltaport replay' reads these files.",
)
@click.option("--overwrite", is_flag=True, help="Replace an engine that is there already.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Do everything but write the engine, and show what it would hold.",
)
@accept_fields_option
@quiet_option
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    checkpoint: Path,
    output: Path | None,
    target: str,
    dtype: str,
    quantize: str | None,
    text: str | None,
    passes: str | None,
    slots: int | None,
    prefill_tokens: int | None,
    context: int | None,
    gpu: str | None,
    plugins: str | None,
    timing_cache: str | None,
    no_plan: bool,
    dump_dir: Path | None,
    overwrite: bool,
    dry_run: bool,
    accept_fields: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Compile the Hugging Face CHECKPOINT folder into an engine folder.

    Weights are streamed: memory stays small, however large the model is. An engine that is
    replaced stays in place until the new one is complete.
    """
    if output is None and not dry_run:
        raise click.MissingParameter(ctx=ctx, param=_option(ctx, "output"))
    if text is not None and (quantize is None or dry_run):
        raise click.UsageError("--text measures what --quantize costs, and not on a dry run")
    plan = chosen_plan(
        target, slots, prefill_tokens, context, gpu, plugins, timing_cache, no_plan=no_plan
    )
    check_exported(checkpoint)
    check_installed(_NEEDED, doing="exporting", extra="export")
    from deltaport.exporter.export import export_checkpoint, plan_export

    from .compilation_facts import compilation_facts, print_compilation
    from .console import write_json
    from .export_progress import ExportProgress
    from .fact_tables import print_facts, print_quantization
    from .facts import facts_of_export, gather

    given = None if text is None else read_text(text)
    start = time.monotonic()
    stored = cast("StorageDtype", dtype)
    with ExportProgress(quiet=quiet) as progress, _failures_of(passes, quantize):
        if dry_run or output is None:
            dry = plan_export(
                checkpoint,
                output,
                target=target,
                dtype=stored,
                quantize=quantize,
                passes=passes,
                plan=plan,
                dump_dir=dump_dir,
                overwrite=overwrite,
                accept_fields=accept_fields,
                events=progress.events,
            )
            facts = facts_of_export(dry, output or checkpoint, plan)
        else:
            export_checkpoint(
                checkpoint,
                output,
                target=target,
                dtype=stored,
                quantize=quantize,
                text=given,
                passes=passes,
                plan=plan,
                dump_dir=dump_dir,
                overwrite=overwrite,
                accept_fields=accept_fields,
                events=progress.events,
                read=progress.read,
            )
            facts = gather(output)
    assert progress.compilation is not None, "an export that went well has run its passes"
    facts |= compilation_facts(progress.compilation)
    facts["seconds"] = time.monotonic() - start
    if as_json:
        write_json(facts)
    elif dry_run:
        print_facts(facts)
        print_compilation(facts)
    elif not quiet:
        _print_summary(facts)
        if facts["engine"]["quantization"] is not None:
            print_quantization(facts["engine"]["quantization"])
        print_compilation(facts)


@contextmanager
def _failures_of(passes: str | None, quantize: str | None) -> Iterator[None]:
    """A pass that refuses its graph is a bug of ours, unless the user chose passes or recipe."""
    try:
        yield
    except PassError as error:
        if passes is not None:
            raise InputError(f"--passes: {error}") from error
        if quantize is not None and quantize not in shipped_recipes():
            raise InputError(f"--quantize: {error}") from error
        raise


def _option(ctx: click.Context, name: str) -> click.Parameter:
    return next(option for option in ctx.command.params if option.name == name)


def _print_summary(facts: Facts) -> None:
    from deltaport.text import TOKENIZER_NAME

    from .console import print_table, write_text
    from .formatting import format_bytes, format_count, format_seconds
    from .model_facts import model_of
    from .wording import describe_layers, describe_left_out, describe_storage

    spec, engine, parameters = model_of(facts), facts["engine"], facts["parameters"]
    total, active = parameters["total"], parameters["active"]
    has_text = any(row["path"] == TOKENIZER_NAME for row in engine["files"])
    prompt = '-p "Once upon a time"' if has_text else '--ids "1,2,3"'
    print_table(
        facts["path"],
        [
            ("model", f"{spec.model_type}, {describe_layers(spec)}"),
            ("parameters", f"{format_count(total)}, {format_count(active)} active a token"),
            ("stored as", f"{describe_storage(engine)}, for {engine['target']} engines"),
            ("size", format_bytes(engine["bytes"])),
            ("not exported", describe_left_out(engine["not_exported"])),
            ("time", format_seconds(facts["seconds"])),
        ],
    )
    if TARGETS[engine["target"]].plan:
        return  # nothing of ours runs it
    # Not in the table, which would break a long line, and nobody could copy it.
    write_text(f"  try           deltaport run {quote(facts['path'])} {prompt}\n")
