"""Options that say how tokens are chosen, for every command that generates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deltaport.errors import InputError

if TYPE_CHECKING:
    from deltaport.runtime import Engine, SamplingParams

__all__ = ["SamplingChoices", "sampling_options", "sampling_params"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SamplingChoices:
    """What the user chose; ``None`` and empty where the checkpoint's recommendation counts.

    The names are those of ``SamplingParams``, but for ``greedy``: leave the recommendation aside.
    """

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float]
    seed: int | None
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    ignore_eos: bool
    greedy: bool


def sampling_options(command: Command) -> Command:
    """All of them; the command takes them as one argument, ``sampling``."""

    @functools.wraps(command)
    def collecting(*arguments: Any, **options: Any) -> Any:
        chosen = {field.name: options.pop(field.name) for field in fields(SamplingChoices)}
        chosen["logit_bias"] = _biases(chosen["logit_bias"])
        return command(*arguments, sampling=SamplingChoices(**chosen), **options)

    for option in reversed(_OPTIONS):
        collecting = option(collecting)
    return collecting  # type: ignore[return-value]  # a command like any other


def sampling_params(
    engine: Engine, chosen: SamplingChoices, *, max_new_tokens: int | None, **changes: Any
) -> SamplingParams:
    """What the checkpoint recommends, unless ``--greedy``, with what the user chose instead.

    Whoever names a filter wants to sample: where nothing says how hot, at temperature 1.
    ``changes`` are fields of ``SamplingParams`` that a command decides.
    """
    from deltaport.runtime import SamplingParams

    given = {
        field.name: value
        for field in fields(chosen)
        if field.name != "greedy" and (value := getattr(chosen, field.name)) not in (None, (), {})
    }
    if not chosen.ignore_eos:
        del given["ignore_eos"]
    given |= {"max_new_tokens": max_new_tokens} | changes
    if chosen.greedy:
        if hot := [name for name in ("temperature", *_FILTERS) if given.get(name)]:
            raise InputError(
                f"--greedy and --{hot[0].replace('_', '-')} contradict each other; give one"
            )
        return SamplingParams(**given)
    params = SamplingParams.from_generation_config(engine, **given)
    filtering = any(name in given for name in _FILTERS)
    if filtering and params.temperature == 0 and "temperature" not in given:
        params = replace(params, temperature=1.0)
    return params


_FILTERS = ("top_k", "top_p", "min_p", "typical_p")

_OPTIONS = (
    click.option(
        "--temperature",
        metavar="T",
        type=click.FloatRange(min=0),
        help="How freely to choose: 0 always takes the most likely token, 1 follows the model. By "
        "default what the checkpoint recommends; 1 where it recommends none and a filter is given.",
    ),
    click.option(
        "--top-k",
        metavar="K",
        type=click.IntRange(min=0),
        help="Choose among the K most likely.",
    ),
    click.option(
        "--top-p",
        metavar="P",
        type=click.FloatRange(0, 1),
        help="Choose among the likely that make up P.",
    ),
    click.option(
        "--min-p",
        metavar="P",
        type=click.FloatRange(0, 1),
        help="Choose among those at least P times as likely as the first.",
    ),
    click.option(
        "--typical-p",
        metavar="P",
        type=click.FloatRange(0, 1, min_open=True),
        help="Choose among the least surprising that make up P.",
    ),
    click.option(
        "--repetition-penalty",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Above 1: avoid tokens of the prompt and the text.",
    ),
    click.option(
        "--presence-penalty",
        metavar="X",
        type=float,
        help="Taken from logits of tokens in the new text.",
    ),
    click.option(
        "--frequency-penalty",
        metavar="X",
        type=float,
        help="The same, as often as they are in it.",
    ),
    click.option(
        "--logit-bias",
        metavar="ID=VALUE",
        multiple=True,
        help="Added to the logit of a token; -inf bans it. Repeat for several.",
    ),
    click.option(
        "--seed",
        metavar="N",
        type=click.IntRange(0, 2**64 - 1),
        help="Choose the same tokens every time. By default every run differs.",
    ),
    click.option(
        "--stop",
        metavar="TEXT",
        multiple=True,
        help="End before this text. Repeat for several.",
    ),
    click.option(
        "--stop-id",
        "stop_token_ids",
        type=click.IntRange(min=0),
        metavar="ID",
        multiple=True,
        help="End with this token. Repeat for several.",
    ),
    click.option("--ignore-eos", is_flag=True, help="Go on past the model's end tokens."),
    click.option(
        "--greedy",
        is_flag=True,
        help="Leave aside what the checkpoint recommends: always the most likely token.",
    ),
)


def _biases(pairs: tuple[str, ...]) -> dict[int, float]:
    """``ID=VALUE`` each."""
    found = {}
    for pair in pairs:
        token, equals, value = pair.partition("=")
        try:
            if not (equals and token.isascii() and token.isdecimal()):
                raise ValueError
            found[int(token)] = float(value)
        except ValueError:
            raise InputError(
                f'--logit-bias: {pair[:40]!r} is not a bias; expected such as "42=-1.5", a token '
                "id and a number"
            ) from None
    return found
