"""Peak memory, disk and time of exporting a large sharded bf16 checkpoint, twice.

The checkpoint is generated as sparse files, so it takes no room however large: its weights read as
zeros, but every byte is read, cast, written and hashed like any other. Prints a table of figures
beside their limits, and fails if one is exceeded or if the two exports differ.

    python benchmarks/export_memory.py --gigabytes 8 --json figures.json
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
from typing import Any

from deltaport.exporter.model_size import parameter_shapes
from deltaport.exporter.model_spec import ModelSpec

PEAK_LIMIT_MIB = 1536
DISK_LIMIT_GB_PER_GB = 1.25
SHARD_BYTES = 2_000_000_000

EXPORT = """
import json, re, sys
from pathlib import Path
from deltaport.exporter.export import export_checkpoint
manifest = export_checkpoint(sys.argv[1], sys.argv[2], overwrite=True)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"peak_mib": peak, "files": [[f.path, f.size, f.sha256] for f in manifest.files]}))
"""


def config_of(gigabytes: float) -> dict[str, Any]:
    """A dense shape with as many layers as fill ``gigabytes`` of bf16."""
    config: dict[str, Any] = {
        "model_type": "qwen3_5_text",
        "hidden_size": 2560,
        "intermediate_size": 9728,
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
    layers = 4
    while bytes_of(config | {"num_hidden_layers": layers}) < gigabytes * 1e9:
        layers += 1
    return config | {"num_hidden_layers": layers}


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return parameter_shapes(ModelSpec.from_config(config, source="benchmark"))


def bytes_of(config: dict[str, Any]) -> int:
    return sum(nbytes(shape) for shape in shapes_of(config).values())


def nbytes(shape: tuple[int, ...]) -> int:
    size = 2
    for dim in shape:
        size *= dim
    return size


def write_sparse_checkpoint(folder: Path, config: dict[str, Any]) -> None:
    """Shards with real headers and holes for data."""
    folder.mkdir()
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
            file.truncate(8 + len(header) + end)
        weight_map |= dict.fromkeys(tensors, file_name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def export_once(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Export in a process of its own; adds seconds and the disk the engine takes."""
    started = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(checkpoint), str(output)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    figures["seconds"] = time.perf_counter() - started
    figures["disk_gb"] = sum(f.stat().st_blocks * 512 for f in output.iterdir()) / 1e9
    return figures


def read_seconds(path: Path) -> float:
    """One pass over the bytes, for scale."""
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(16 << 20):
            pass
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0, help="size of the checkpoint")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    config = config_of(options.gigabytes)
    size_gb = bytes_of(config) / 1e9
    work = Path(tempfile.mkdtemp(dir=options.work))
    try:
        checkpoint, output = work / "checkpoint", work / "engine"
        write_sparse_checkpoint(checkpoint, config)
        first = export_once(checkpoint, output)
        scan = read_seconds(output / "decoder.onnx.data")
        shutil.rmtree(output)  # room for one engine is enough to measure two
        second = export_once(checkpoint, output)
    finally:
        shutil.rmtree(work)

    peak = max(first["peak_mib"], second["peak_mib"])
    identical = first["files"] == second["files"]
    rows = [
        ("checkpoint, bf16", f"{size_gb:.2f} GB", ""),
        ("peak resident memory", f"{peak:.0f} MiB", f"{PEAK_LIMIT_MIB} MiB"),
        ("disk taken", f"{first['disk_gb']:.2f} GB", f"{DISK_LIMIT_GB_PER_GB * size_gb:.2f} GB"),
        ("time", f"{first['seconds']:.0f} s", f"one pass over the bytes: {scan:.0f} s"),
        ("two exports identical", "yes" if identical else "no", "yes"),
    ]
    for name, found, limit in rows:
        print(f"{name:24} {found:>12}   {limit}")
    if options.json:
        figures = {"size_gb": size_gb, "peak_mib": peak, "seconds": first["seconds"]}
        figures |= {"disk_gb": first["disk_gb"], "identical": identical, "scan_seconds": scan}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    within = peak <= PEAK_LIMIT_MIB and first["disk_gb"] <= DISK_LIMIT_GB_PER_GB * size_gb
    return 0 if identical and within else 1


if __name__ == "__main__":
    sys.exit(main())
