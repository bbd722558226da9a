"""Peak memory, size on disk and time of exporting a large sharded bf16 checkpoint, twice.

The checkpoint is generated as sparse files, so it takes no room however large: its weights read as
zeros, but every byte is read, cast, written and hashed like any other. With ``--quantize`` its
weights are random and on the disk, since how long quantizing takes depends on them. What the time
is compared with is one pass over the checkpoint's bytes. Fails if memory or disk exceed their
limits, or if the two exports differ.

    python -m benchmarks.export_memory --gigabytes 8 --json figures.json
    python -m benchmarks.export_memory --gigabytes 16 --kind moe --quantize int4
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from benchmarks.report import Row, print_table, write_json
from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec

PEAK_LIMIT_MIB = 1536
DISK_LIMIT_GB_PER_GB = 1.25
SHARD_BYTES = 2_000_000_000

SHAPE: dict[str, Any] = {
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "vocab_size": 248320,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "max_position_embeddings": 262144,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000,
        "partial_rotary_factor": 0.25,
        "mrope_section": [11, 11, 10],
        "mrope_interleaved": True,
    },
}
KINDS: dict[str, dict[str, Any]] = {
    "dense": {
        "model_type": "qwen3_5_text",
        "hidden_size": 2560,
        "intermediate_size": 9728,
    },
    "moe": {
        "model_type": "qwen3_5_moe_text",
        "hidden_size": 2048,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
}

EXPORT = """
import json, re, sys
from pathlib import Path
from deltaport.exporter.export import export_checkpoint
options = {"target": "ort-cpu", "quantize": sys.argv[3]} if sys.argv[3] else {}
manifest = export_checkpoint(sys.argv[1], sys.argv[2], overwrite=True, **options)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"peak_mib": peak, "files": [[f.path, f.size, f.sha256] for f in manifest.files]}))
"""


def config_of(kind: str, gigabytes: float) -> dict[str, Any]:
    """The shape of a kind, with as many layers as fit into ``gigabytes`` of bf16; at least one."""
    layers = 1
    while bytes_of(SHAPE | KINDS[kind] | {"num_hidden_layers": layers + 1}) <= gigabytes * 1e9:
        layers += 1
    return SHAPE | KINDS[kind] | {"num_hidden_layers": layers}


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the checkpoint: experts one tensor each, as Qwen publishes them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in parameter_shapes(ModelSpec.from_config(config, source="benchmark")).items():
        stem, experts, kind = name.partition(".experts.")
        if not experts:
            shapes[name] = shape
            continue
        count, rows, columns = shape
        for n in range(count):
            if kind == "down_proj":
                shapes[f"{stem}.experts.{n}.down_proj.weight"] = (rows, columns)
            else:  # gate rows, then up rows
                for half in ("gate", "up"):
                    shapes[f"{stem}.experts.{n}.{half}_proj.weight"] = (rows // 2, columns)
    return shapes


def bytes_of(config: dict[str, Any]) -> int:
    return sum(nbytes(shape) for shape in shapes_of(config).values())


def nbytes(shape: tuple[int, ...]) -> int:
    size = 2
    for dim in shape:
        size *= dim
    return size


def fill(file: IO[bytes], size: int, rng: np.random.Generator) -> None:
    """Append ``size`` bytes of bf16 weights, of which each few million are others."""
    pool = rng.standard_normal(1 << 24, dtype=np.float32) * np.float32(0.02)
    values = pool.astype(ml_dtypes.bfloat16)
    while size:
        piece = np.roll(values, int(rng.integers(len(values))))[: size // 2].tobytes()
        file.write(piece)
        size -= len(piece)


def write_checkpoint(folder: Path, config: dict[str, Any], *, random: bool) -> None:
    """Shards with real headers and, for data, random weights or holes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[dict[str, Any]] = [{}]
    used = 0
    for name, shape in shapes_of(config).items():
        size = nbytes(shape)
        if used + size > SHARD_BYTES and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][name] = {"dtype": "BF16", "shape": shape, "data_offsets": [used, used + size]}
        used += size
    weight_map = {}
    for i, tensors in enumerate(shards):
        file_name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        header = json.dumps(tensors).encode()
        end = max(tensor["data_offsets"][1] for tensor in tensors.values())
        with (folder / file_name).open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            if random:
                fill(file, end, rng)
            file.truncate(8 + len(header) + end)
        weight_map |= dict.fromkeys(tensors, file_name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def export_once(checkpoint: Path, output: Path, recipe: str | None) -> dict[str, Any]:
    """Export in a process of its own; adds seconds and the disk the engine takes."""
    started = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(checkpoint), str(output)]
    command.append(recipe or "")
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    figures["seconds"] = time.perf_counter() - started
    figures["disk_gb"] = sum(f.stat().st_blocks * 512 for f in output.iterdir()) / 1e9
    return figures


def read_seconds(checkpoint: Path) -> float:
    """One pass over the bytes of all shards, for scale."""
    started = time.perf_counter()
    for path in checkpoint.glob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.read(16 << 20):
                pass
    return time.perf_counter() - started


def measure(
    kind: str, gigabytes: float, parent: Path | None, recipe: str | None
) -> tuple[list[Row], list[str]]:
    """Rows for one kind, and what is wrong with them."""
    config = config_of(kind, gigabytes)
    size_gb = bytes_of(config) / 1e9
    work = Path(tempfile.mkdtemp(dir=parent))
    try:
        checkpoint, output = work / "checkpoint", work / "engine"
        write_checkpoint(checkpoint, config, random=recipe is not None)
        first = export_once(checkpoint, output, recipe)
        one_pass = read_seconds(checkpoint)
        shutil.rmtree(output)  # room for one engine is enough to measure two
        second = export_once(checkpoint, output, recipe)
    finally:
        shutil.rmtree(work)

    case = f"export {kind} {size_gb:.1f} GB bf16{f' as {recipe}' if recipe else ''}"
    seconds = min(first["seconds"], second["seconds"])
    peak = max(first["peak_mib"], second["peak_mib"])
    disk = first["disk_gb"]
    rows = [
        Row(f"{case}: seconds", seconds, limit_share=one_pass / seconds),
        Row(f"{case}: peak MiB", peak),
        Row(f"{case}: disk GB", disk),
    ]
    wrong = []
    if peak > PEAK_LIMIT_MIB:
        wrong.append(f"{case}: peak of {peak:.0f} MiB, allowed are {PEAK_LIMIT_MIB}")
    if disk > DISK_LIMIT_GB_PER_GB * size_gb:
        wrong.append(f"{case}: {disk:.2f} GB on disk, allowed are {DISK_LIMIT_GB_PER_GB} per GB")
    if first["files"] != second["files"]:
        wrong.append(f"{case}: two exports differ")
    return rows, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="size of the checkpoint")
    parser.add_argument("--quantize", metavar="RECIPE", help="by a recipe, weights being random")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    rows: list[Row] = []
    wrong: list[str] = []
    for kind in KINDS if options.kind == "all" else [options.kind]:
        found = measure(kind, options.gigabytes, options.work, options.quantize)
        rows += found[0]
        wrong += found[1]
    print_table(rows)
    if options.json:
        write_json(rows, options.json)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
