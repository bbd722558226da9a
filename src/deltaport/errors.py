"""One error hierarchy for everything a user can get wrong.

A message is one line that names the file, tensor or option, says what was found and what was
expected, and what to do about it. The command line prints that line and exits with status 2.
Anything that is not a :class:`DeltaportError` is a bug in deltaport.
"""

__all__ = [
    "CapacityError",
    "CheckpointError",
    "ConfigError",
    "DeltaportError",
    "EngineError",
    "InputError",
    "OutputError",
    "PassError",
    "StepCancelledError",
]


class DeltaportError(Exception):
    """Base class of all errors raised on purpose."""


class ConfigError(DeltaportError):
    """``config.json`` is missing, malformed, or asks for maths this exporter does not do."""


class CheckpointError(DeltaportError):
    """A weight file is damaged, or its tensors are not those the configuration describes."""


class OutputError(DeltaportError):
    """The engine folder could not be written: it exists, the disk is full, access is denied."""


class EngineError(DeltaportError):
    """An engine folder is incomplete, altered, or made by an incompatible version."""


class InputError(DeltaportError):
    """An argument to the runtime is out of range: a token id, a row count, an option."""


class CapacityError(InputError):
    """A sequence would outgrow the context it was given."""


class StepCancelledError(DeltaportError):
    """A step of a session was cancelled; everything is as it was before it."""


class PassError(Exception):
    """A graph pass found the graph in a state it must not be in.

    No user can cause that or mend it, so it is no :class:`DeltaportError`.
    """
