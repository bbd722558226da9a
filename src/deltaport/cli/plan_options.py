"""Options of the plan that TensorRT makes of an engine's graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deltaport.graph_passes.target_capabilities import TARGETS

if TYPE_CHECKING:
    from deltaport.exporter.tensorrt.plan_options import PlanOptions

__all__ = ["chosen_plan", "plan_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_FOR = "For targets that TensorRT runs: "


def plan_options(command: Command) -> Command:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--gpu",
        metavar="SM",
        help=f"{_FOR}compute capability of the GPU to build for, as in sm89. By default that of "
        "the GPU in this machine. Another one takes TensorRT-RTX.",
    ),
    click.option(
        "--slots",
        metavar="N",
        type=int,
        help=f"{_FOR}sequences that decode together, 8 by default.",
    ),
    click.option(
        "--prefill-tokens",
        metavar="N",
        type=int,
        help=f"{_FOR}most tokens of a prompt that are read in one step, 512 by default.",
    ),
    click.option(
        "--context",
        metavar="N",
        type=int,
        help=f"{_FOR}tokens that caches have room for, a sequence. By default what the model was "
        "trained for, and 8192 at most.",
    ),
    click.option(
        "--plugins",
        metavar="FILE",
        envvar="DELTAPORT_TENSORRT_PLUGINS",
        help=f"{_FOR}our plugins, libdeltaport_tensorrt.so, which the target 'tensorrt' calls; by "
        "default the library deltaport was installed with, if it was.",
    ),
    click.option(
        "--timing-cache",
        metavar="FILE",
        help=f"{_FOR}where TensorRT keeps the times of kernels it measures, so that the next build "
        "need not. Read if it is there, written after the build. TensorRT-RTX measures none.",
    ),
    click.option(
        "--no-plan",
        is_flag=True,
        help=f"{_FOR}write the graph alone, to build the plan elsewhere.",
    ),
)


def chosen_plan(
    target: str,
    slots: int | None,
    prefill_tokens: int | None,
    context: int | None,
    gpu: str | None,
    plugins: str | None,
    timing_cache: str | None,
    *,
    no_plan: bool,
) -> PlanOptions | None:
    """What the options say; None where no plan is to be made.

    Raises ``UsageError`` for options that the target, or ``--no-plan``, makes no use of.
    """
    given = {
        "--gpu": gpu,
        "--slots": slots,
        "--prefill-tokens": prefill_tokens,
        "--context": context,
        "--timing-cache": timing_cache,
    }
    takes_plan = TARGETS[target].plan
    if not takes_plan or no_plan:
        unused = [name for name, value in given.items() if value is not None]
        unused += ["--no-plan"] if no_plan and not takes_plan else []
        if unused:
            why = "--no-plan" if takes_plan else f"--target {target}"
            raise click.UsageError(f"{unused[0]} is of no use with {why}, which builds no plan")
        return None
    from deltaport.exporter.tensorrt.plan_options import PlanOptions

    default = PlanOptions()
    return PlanOptions(
        slots=default.slots if slots is None else slots,
        prefill_tokens=default.prefill_tokens if prefill_tokens is None else prefill_tokens,
        context=context,
        gpu=gpu,
        # It may come from the environment, so that a target without plugins must not mind.
        plugins=_plugins(plugins) if TARGETS[target].kernels else None,
        timing_cache=timing_cache,
    )


def _plugins(given: str | None) -> str | None:
    from deltaport.runtime.tensorrt_library import installed_plugins

    if given is not None:
        return given
    installed = installed_plugins()
    return None if installed is None else str(installed)
