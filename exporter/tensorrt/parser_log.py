"""What TensorRT says while it parses and builds."""

from __future__ import annotations

from typing import Any

__all__ = ["collecting_logger"]

_UNUSED = "unused input"


def collecting_logger(module: Any) -> Any:
    """A logger of ``module`` with what matters in ``problems`` and ``unused``.

    ``problems``: errors, one line each. ``last``: the last of them. ``warnings``: the same of what
    is less. ``unused``: inputs of nodes the parser does not look at, which it mentions by the way
    and computes something else without.
    """

    class CollectingLogger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.problems: list[str] = []
            self.warnings: list[str] = []
            self.unused: list[str] = []

        @property
        def last(self) -> str:
            """The last problem."""
            return self.problems[-1] if self.problems else "it does not say why"

        def log(self, severity: Any, message: str) -> None:
            line = " ".join(message.split())
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.problems.append(line)
            elif severity == module.ILogger.WARNING:
                self.warnings.append(line)
            if _UNUSED in line.lower():
                self.unused.append(line)

    return CollectingLogger()
