"""Calls into a plugin: whatever it raises is one line that names it and who provides it, and costs nobody else.

    with entry.guarded():
        seen = plugin.visualize(given, params)

`AHEKIT_TRACEBACK=1` in the environment lets bugs through with their traceback, for whoever writes the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ahekit.errors import AhekitError, MemoryShortage, PluginError
from ahekit.sections import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


@dataclass(frozen=True)
class Origin:
    """Whose a plugin is, for what has to be said when it breaks.

    Attributes:
        kind: "model", "visualizer" …
        name: That it was asked for by.
        provider: Distribution and version, file or module.
    """

    kind: str
    name: str
    provider: str

    def broken(self, reason: str) -> PluginError:
        """The error that names the plugin and says in one line what is wrong with it."""
        return PluginError(f"{self.kind} {self.name!r} of {self.provider} is broken: {' '.join(reason.split())}")

    @contextmanager
    def guarded(self, doing: str = "") -> Iterator[None]:
        """Inside, a bug of the plugin becomes its `PluginError`; what it raises on purpose (`AhekitError`) passes.

        So do Ctrl-C and, when the environment's `AHEKIT_TRACEBACK` is set, every bug.

        Args:
            doing: What can't be done then, told before the reason.
        """
        try:
            yield
        except (AhekitError, KeyboardInterrupt):
            raise
        except BaseException as error:  # sys.exit() in a plugin ends the plugin's part, not the program
            if lets_bugs_through():
                raise
            if shortage := MemoryShortage.behind(error):
                raise shortage from error
            raise self.broken(f"{doing}: {reason_of(error)}" if doing else reason_of(error)) from error

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call into the plugin, guarded; `partial(origin.call, function)` guards a function of its own."""
        with self.guarded():
            return function(*args, **kwargs)

    def guarded_figures(self, figures: Sequence[Figure]) -> tuple[Figure, ...]:
        """Figures whose drawing is guarded; they draw themselves long after the plugin returned them."""

        def draw(figure: Figure, canvas: MplFigure) -> None:
            with self.guarded(f"figure {figure.name!r} can't be drawn"):
                figure.draw(canvas)

        return tuple(replace(figure, draw=partial(draw, figure)) for figure in figures)


def lets_bugs_through() -> bool:
    """Whether `AHEKIT_TRACEBACK` asks for a plugin's bugs as they are."""
    return bool(os.environ.get("AHEKIT_TRACEBACK"))


def reason_of(error: BaseException) -> str:
    """An exception in one line: its type and the first of what it says; of an `AhekitError` what it says."""
    if isinstance(error, AhekitError):
        return " ".join(str(error).split())
    if isinstance(error, RecursionError):
        return "RecursionError: it calls itself without end"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else f'{text[:300]}…'}".removesuffix(": ")
