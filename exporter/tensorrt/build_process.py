"""TensorRT in a process of its own: what crashes it must not crash an export.

The request comes as JSON, and what happens is told as lines of JSON: ``stage`` with its name,
``built`` once there is a plan, and last ``done`` with the builder's name, or ``refused`` with an
error's kind and message.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deltaport import errors
from deltaport.errors import DeltaportError, EngineError
from deltaport.exporter.tensorrt.own_library import start_over_with_library
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.package.plan_layers import PlanLayers
from deltaport.state_layout import StateLayout

__all__ = ["build_apart", "check_apart"]

_Stage = Callable[[str], None]


def check_apart(options: PlanOptions, *, fp8: bool = False) -> str:
    """What would build plans for these options, with its version.

    Raises ``InputError`` where nothing would: TensorRT is missing or old, or so is a GPU's driver,
    or it is to multiply weights in ``fp8`` and is none that can.
    """
    return _ask({"options": asdict(options), "fp8": fp8}, lambda _: None)


def build_apart(
    decoder: Path,
    plan: Path,
    layers: Path,
    layout: StateLayout,
    *,
    capacity: int,
    options: PlanOptions,
    stage: _Stage = lambda _: None,
) -> str:
    """Build ``decoder`` into the file ``plan``; returns what built it, with its version.

    A plan for the GPU of this machine has its layers told in the file ``layers``. Raises what
    ``build_plan`` does, and ``EngineError`` where the process dies before there is a plan.
    """
    request = {
        "decoder": str(decoder),
        "plan": str(plan),
        "layers": str(layers),
        "layout": layout.to_json(),
        "capacity": capacity,
        "options": asdict(options),
    }
    return _ask(request, stage)


def _ask(request: dict[str, Any], stage: _Stage) -> str:
    pipe, builder = subprocess.PIPE, ""
    with subprocess.Popen(
        [sys.executable, "-m", "deltaport.exporter.tensorrt.build_process"],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                told = json.loads(line)
                if "stage" in told:
                    stage(told["stage"])
                elif "refused" in told:
                    raise getattr(errors, told["refused"])(told["message"])
                elif "failed" in told:
                    raise RuntimeError(told["failed"])  # a bug of ours
                elif "built" in told:
                    builder = told["built"]
                else:
                    return str(told["done"])
        except BaseException:  # also an interrupt: nobody waits for the plan any more
            process.kill()
            raise
        end = f"TensorRT ended with {_end(process.wait())}"
    if builder:  # and it is good without its layers
        Path(request["layers"]).write_text(PlanLayers({}, end).to_json())
        return builder
    raise EngineError(
        f"{end}, by a fault of its own or for want of memory; try other --slots, --prefill-tokens "
        "or --context"
    )


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _answer(request: dict[str, Any], tell: Callable[..., None]) -> None:
    from deltaport.exporter.tensorrt.build_plan import build_plan, plan_builder
    from deltaport.exporter.tensorrt.inspect_plan import layers_text
    from deltaport.exporter.tensorrt.tensorrt_library import gpu_here, load_tensorrt, require_fp8

    tensorrt, options = load_tensorrt(), PlanOptions(**request["options"])
    made, name = plan_builder(tensorrt, options), f"{tensorrt.flavour} {tensorrt.version}"
    if "decoder" in request:
        layout = StateLayout.from_json(request["layout"], source="the export")
        capacity = request["capacity"]
        plan = build_plan(
            made,
            Path(request["decoder"]),
            layout,
            capacity=capacity,
            options=options,
            stage=lambda name: tell(stage=name),
        )
        Path(request["plan"]).write_bytes(plan)
        tell(built=name)
        if made.times is not None:
            try:
                made.times.write()
            except errors.OutputError as error:  # what was measured is lost, the plan is not
                tell(stage=f"going on without it: {error}")
        if options.gpu is None:
            tell(stage="reading the plan's layers")
            text = layers_text(made, plan, layout, capacity=capacity, options=options)
            Path(request["layers"]).write_text(text)
    elif request["fp8"]:
        require_fp8(options.gpu or gpu_here())
    tell(done=name)


def _end_with_parent() -> None:
    """Have the system end this process where its parent is killed: nobody wants the plan then."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _main() -> None:
    start_over_with_library()
    _end_with_parent()
    # Libraries print, too: theirs goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**what: str) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        _answer(json.load(sys.stdin), tell)
    except (DeltaportError, errors.PassError) as error:
        tell(refused=type(error).__name__, message=str(error))
    except OSError as error:
        tell(refused="OutputError", message=f"the plan cannot be written: {error.strerror}")
    except Exception as error:
        tell(failed=f"building a plan: {type(error).__name__}: {error}")


if __name__ == "__main__":
    _main()
