"""The whole way from an engine and a checkpoint to a report."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from deltaport.errors import InputError
from deltaport.exporter.export_plan import checked
from deltaport.exporter.model_spec import ModelSpec
from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.package import Manifest, Quantization, open_package
from deltaport.runtime import Engine
from deltaport.runtime.arguments import token_ids
from deltaport.runtime.engine import Device
from deltaport.text import TOKENIZER_NAME, TextTokenizer
from deltaport.verify.bounds import Bounds, lossy_dtype
from deltaport.verify.drift import Drift, locate, measure, worst
from deltaport.verify.engine_run import CHUNKED, CUTS, WHOLE, run_engine
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.open_oracle import (
    OracleKind,
    bytes_needed,
    choose,
    in_words,
    open_oracle,
    refuse_if_too_large,
)
from deltaport.verify.oracle import Reference
from deltaport.verify.prefix_engine import PassesPrefix, passes_prefix, prefix_engine
from deltaport.verify.prompts import Prompt, built_in_prompts, given_prompt
from deltaport.verify.report import Layers, Report
from deltaport.verify.same_model import check_same_model
from deltaport.verify.tapped_engine import TappedEngine
from deltaport.verify.verdict import PromptResult, compare_prompt

__all__ = ["GREEDY_TOKENS", "VerifyEvents", "verify_engine"]

GREEDY_TOKENS = 32
"""Tokens every prompt is continued by, unless the caller says otherwise."""

_HEAD = "embedding"
"""The role of a head that is tied."""
Pairs = Sequence[tuple[Prompt, Reference]]


@dataclass(frozen=True)
class VerifyEvents:
    """Hooks for whoever shows progress: stages by name, how many prompts, each as it is done."""

    stage: Callable[[str], None] = lambda _: None
    prompts: Callable[[int], None] = lambda _: None
    done: Callable[[int], None] = lambda _: None


def verify_engine(
    engine: Path,
    against: Path,
    *,
    text: str | None = None,
    ids: Sequence[int] | None = None,
    layers: bool = False,
    unrounded: bool = False,
    oracle: OracleKind = "auto",
    new_tokens: int = GREEDY_TOKENS,
    prefix: int | None = None,
    threads: int | None = None,
    device: Device | None = None,
    checksums: bool = True,
    accept_fields: Collection[str] = (),
    events: VerifyEvents | None = None,
) -> Report:
    """Compare the engine folder with the checkpoint folder it was made from.

    On ``text`` or token ``ids``, or else on built-in prompts. With ``layers``, also where it
    departs. ``threads`` and ``device`` are those of ``Engine.open``.

    Where the engine stores matrices narrower than the checkpoint, the oracle's are rounded alike,
    and float32's bounds hold; with ``unrounded`` they are not, and bounds are that dtype's. Where
    it stores them quantized, the oracle's are too, and it rounds activations where the engine does:
    to 8 bits, whose bounds hold, as now and then the two choose another code each. An engine that
    dequantizes rounds none, and is held to the bounds of what it computes in.

    With a ``prefix``, what is compared is not the engine itself, but one like it that is exported
    from the checkpoint with the first ``prefix`` graph passes of its target.

    Raises a ``DeltaportError`` where the two cannot be compared; that they differ is no
    error but what the report says.
    """
    events = events or VerifyEvents()
    kind = choose(oracle)
    events.stage("checking the engine and the checkpoint")
    manifest = open_package(engine, checksums=checksums)
    if manifest.quantization is not None and unrounded:
        raise InputError(
            f"--unrounded: {engine} has quantized weights, whose cost no bound tells; measure it "
            f"with: deltaport eval {engine} --text FILE --against UNQUANTIZED_ENGINE"
        )
    has_plan = manifest.target in TARGETS and TARGETS[manifest.target].plan
    if has_plan:
        _check_plan(engine, layers=layers, prefix=prefix)
    passes = None if prefix is None else passes_prefix(manifest, prefix)
    quantization = manifest.quantization if passes is None or passes.quantizes else None
    with checked(against, dtype="auto", accept_fields=accept_fields) as checkpoint:
        spec, stored_as = checkpoint.spec, checkpoint.matrix_dtype
        check_same_model(manifest, spec, at=engine, against=against)
        lossy = lossy_dtype(engine=manifest.dtype, checkpoint=stored_as, source=str(engine))
        dequantizes = manifest.target in TARGETS and TARGETS[manifest.target].dequantizes
        if (
            quantization
            and dequantizes
            and spec.tie_word_embeddings
            and _HEAD in quantization.roles
        ):
            raise InputError(
                f"{engine}: its head is quantized and the embedding it is tied to is not, which no "
                f"oracle computes; verify an engine whose recipe leaves {_HEAD} out"
            )
        if has_plan:  # whether it runs here is said before the oracle runs
            Engine.open(engine, threads=threads, checksums=False)
        rounds = quantization is not None and not dequantizes
        computed_in = "int8" if rounds else manifest.state.activation_dtype
        bounds = Bounds(lossy if lossy and unrounded else computed_in)
        rounding = (
            MatrixRounding()
            if unrounded
            else _rounding(lossy, quantization, dequantizes=dequantizes)
        )
        longest = manifest.longest_context - new_tokens
        prompts, notes = _prompts(engine, manifest, text, ids, longest)
        needed = bytes_needed(
            spec,
            tokens=sum(len(prompt.tokens) for prompt in prompts),
            new_tokens=new_tokens,
            prompts=len(prompts),
        )
        refuse_if_too_large(needed)
        events.stage(f"loading the checkpoint, which needs {in_words(needed)} of memory")
        judge = open_oracle(kind, checkpoint, rounding)
    name = judge.name
    _begin(events, f"running {name}", prompts)
    pairs: list[tuple[Prompt, Reference]] = []
    for prompt in prompts:
        pairs.append((prompt, judge.run(prompt.tokens, new_tokens=new_tokens)))
        events.done(1)
    del judge  # a large model leaves memory before the engine comes ...
    gc.collect()  # ... at once: hooks and the modules they are on refer to each other

    with _engine_to_run(engine, manifest, against, passes, accept_fields, events) as (ran, held):
        _begin(events, "running the engine", prompts)
        results = _results(ran, pairs, bounds, new_tokens, threads, device, events)
        found = None
        if layers:
            _begin(events, "looking inside the engine", prompts)
            differs = [bool(result.differences) for result in results]
            found = _layers(ran, held, spec, pairs, differs, bounds, threads, device, events)
    return Report(
        engine=str(engine),
        checkpoint=str(against),
        oracle=name,
        engine_dtype=manifest.dtype,
        checkpoint_dtype=stored_as,
        rounding=rounding,
        passes=passes,
        bounds=bounds,
        not_compared=manifest.not_exported,
        prompts=tuple(results),
        layers=found,
        notes=(*notes, *(note for result in results for note in result.notes)),
    )


def _check_plan(engine: Path, *, layers: bool, prefix: int | None) -> None:
    """Refuse what a plan does not allow."""
    for option, asked in (("--layers", layers), ("--passes-prefix", prefix is not None)):
        if asked:
            raise InputError(
                f"{option}: {engine} is run by TensorRT, which computes its plan as a whole; leave "
                "the option out, or verify an engine exported with --target portable"
            )


def _rounding(
    lossy: str | None, quantization: Quantization | None, *, dequantizes: bool
) -> MatrixRounding:
    if quantization is None:
        return MatrixRounding(lossy)
    formats = {role: stored.format for role, stored in quantization.roles.items()}
    return MatrixRounding(lossy, quantization.recipe, formats, dequantizes)


@contextmanager
def _engine_to_run(
    engine: Path,
    manifest: Manifest,
    against: Path,
    passes: PassesPrefix | None,
    accept_fields: Collection[str],
    events: VerifyEvents,
) -> Iterator[tuple[Path, Manifest]]:
    """The engine, or for the block one with the first passes only."""
    if passes is None:
        yield engine, manifest
        return
    with prefix_engine(
        against, manifest, passes, accept_fields=accept_fields, stage=events.stage
    ) as made:
        yield made, open_package(made, checksums=False)


def _begin(events: VerifyEvents, stage: str, prompts: Sequence[Prompt]) -> None:
    events.stage(stage)
    events.prompts(len(prompts))


def _prompts(
    engine: Path, manifest: Manifest, text: str | None, ids: Sequence[int] | None, longest: int
) -> tuple[list[Prompt], list[str]]:
    """What to run, and what to tell about it."""
    if longest < 1:
        raise InputError(
            f"{engine}: holds {manifest.longest_context} tokens, which leaves none for a prompt; "
            "pass a lower --tokens"
        )
    if ids is not None:
        tokens = token_ids("--ids", ids, manifest.vocab_size)
        return [given_prompt("token ids", tokens, longest=longest)], []
    if text is not None:
        tokens = token_ids(
            str(engine / TOKENIZER_NAME),
            TextTokenizer.load(engine).encode(text),
            manifest.vocab_size,
        )
        return [given_prompt("text", tokens, longest=longest)], []
    has_text = os.path.lexists(engine / TOKENIZER_NAME)
    tokenizer = TextTokenizer.load(engine) if has_text else None
    prompts = built_in_prompts(tokenizer, vocab_size=manifest.vocab_size, longest=longest)
    note = "the engine has no tokenizer.json: prompts are random token ids, always the same"
    return prompts, [] if has_text else [note]


def _results(
    engine: Path,
    pairs: Pairs,
    bounds: Bounds,
    new_tokens: int,
    threads: int | None,
    device: Device | None,
    events: VerifyEvents,
) -> list[PromptResult]:
    # Its files were compared with the manifest just now.
    opened = Engine.open(engine, threads=threads, checksums=False, device=device)
    results = []
    for prompt, reference in pairs:
        runs = {}
        for cut, chunk_size in CUTS.items():
            # The state that went through the most steps is the one to continue from.
            count = new_tokens if cut == CHUNKED else 0
            runs[cut] = run_engine(opened, prompt.tokens, chunk_size=chunk_size, new_tokens=count)
        layout = opened.manifest.state
        results.append(compare_prompt(prompt, reference, runs, layout, bounds))
        events.done(1)
    return results


def _layers(
    engine: Path,
    manifest: Manifest,
    spec: ModelSpec,
    pairs: Pairs,
    differs: Sequence[bool],
    bounds: Bounds,
    threads: int | None,
    device: Device | None,
    events: VerifyEvents,
) -> Layers:
    """Errors layer by layer, the largest of all prompts, for every way to cut them.

    Where the engine departs is told from the prompts in which it ``differs``: in others it may be
    out of bounds by a router's tie.
    """
    tapped = TappedEngine.tap(
        engine,
        manifest,
        num_layers=spec.num_layers,
        hidden_size=spec.hidden_size,
        threads=threads,
        device=device,
    )
    drifts: dict[str, list[Drift]] = {cut: [] for cut in CUTS}
    for prompt, reference in pairs:
        for cut, chunk_size in CUTS.items():
            run = run_engine(tapped, prompt.tokens, chunk_size=chunk_size)
            taps = tapped.take_taps()
            drifts[cut].append(measure(manifest.state, taps, run, reference))
        events.done(1)
    departure = None
    if any(differs):
        whole, chunked = (worst(list(compress(drifts[cut], differs))) for cut in (WHOLE, CHUNKED))
        departure = locate(whole, chunked, bounds, spec)
    drift = {cut: worst(found) for cut, found in drifts.items()}
    return Layers(spec.layer_kinds, drift, departure)
