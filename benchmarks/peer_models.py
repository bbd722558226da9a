"""Makes the models of peers from a checkpoint, in files their engines read.

The functions at the top run in our environment and start an interpreter that has the peer; what it
runs, in this same file, imports nothing of ours. llama.cpp's converter comes with the sources of
llama-cpp-python: they are downloaded once, in the version that is installed there.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["genai_model", "installed", "llama_model"]

ROOT = Path(__file__).resolve().parents[1]
VERSION = "import importlib.metadata as m; print(m.version('{}'))"
DOWNLOAD = "-m pip download -q --no-deps --no-binary :all: -d {} llama-cpp-python=={}"
GENAI = "-m onnxruntime_genai.models.builder -i {} -o {} -p {} -e cpu"


def installed(python: str | None, distribution: str) -> str | None:
    """The version the interpreter has; None where it has none."""
    if python is None:
        return None
    command = [python, "-c", VERSION.format(distribution)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def genai_model(python: str, checkpoint: Path, folder: Path, precision: str) -> Path:
    """The folder of onnxruntime-genai's model, which projects the last token of a prompt alone."""
    if not (folder / "genai_config.json").exists():
        build = GENAI.format(checkpoint, folder, precision).split()
        cache = ["-c", str(folder.with_suffix(".cache"))]
        options = ["--extra_options", "prune_lm_head=true"]
        _logged([python, *build, *cache, *options], folder.with_suffix(".log"))
    return folder


def llama_model(python: str, checkpoint: Path, file: Path, work: Path) -> Path:
    """A GGUF file in the format its name ends with: ``bf16``, or one that is made from that."""
    if file.exists():
        return file
    part = file.with_suffix(".part")  # so that a file is there when it is whole
    if file.stem == "bf16":
        converter = _sources(python, work) / "vendor" / "llama.cpp"
        _in_peer(python, file, "convert", converter, checkpoint, part)
    else:
        wide = llama_model(python, checkpoint, file.with_stem("bf16"), work)
        _in_peer(python, file, "quantize", wide, part, file.stem)
    return part.rename(file)


def _sources(python: str, work: Path) -> Path:
    version = installed(python, "llama-cpp-python")
    folder = work / f"llama_cpp_python-{version}"
    if not folder.exists():
        archive = folder.with_name(f"{folder.name}.tar.gz")
        if not archive.exists():
            subprocess.run([python, *DOWNLOAD.format(work, version).split()], check=True)
        with tarfile.open(archive) as sources:
            sources.extractall(work, filter="data")
    return folder


def _in_peer(python: str, file: Path, task: str, *arguments: object) -> None:
    command = [python, "-m", "benchmarks.peer_models", task, *map(str, arguments)]
    _logged(command, file.with_suffix(".log"))


def _logged(command: list[str], log: Path) -> None:
    """Run a command that says a thousand lines, and end with where they are if it fails."""
    print("making", log.with_suffix(""), flush=True)
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}, see {log}")


def convert(converter: str, checkpoint: str, file: str) -> None:
    """Write a checkpoint as GGUF in bf16."""
    sys.path.insert(0, converter)
    import convert_hf_to_gguf
    from conversion.base import TextModel

    # It knows pre-tokenizers by what the whole vocabulary makes of a text: ours is cut down.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen35"
    options = ["--outtype", "bf16", "--no-mtp", "--outfile", file]
    sys.argv = ["convert_hf_to_gguf", checkpoint, *options]
    convert_hf_to_gguf.main()


def quantize(source: str, file: str, name: str) -> None:
    """Write a GGUF file in another format, by llama.cpp's own choice for each tensor."""
    import llama_cpp as llama

    settings = llama.llama_model_quantize_default_params()
    settings.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{name}")
    settings.nthread = 2
    if llama.llama_model_quantize(source.encode(), file.encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama_model_quantize of {source} to {name} failed")


if __name__ == "__main__":
    {"convert": convert, "quantize": quantize}[sys.argv[1]](*sys.argv[2:])
