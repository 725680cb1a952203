"""The exception tree: everything a user can cause is one line and an exit code.

    AhekitError                 exit 1
    ├── UsageError              exit 2: the command line or a spec is wrong
    │   ├── SpecError           one or more fields of a run spec
    │   └── UnknownNameError    no plugin, class, layer or run of that name
    ├── PluginError             a plugin is broken, or two share a name
    ├── DataError               a dataset, image or archive can't be used
    │   └── DecodeError         an image file that isn't one, is damaged, too large or of no known form
    │       └── UnreadableError an image file that can't be read at all
    ├── RunError                a run folder can't be found, read or written
    ├── CheckpointError         a checkpoint can't be read or doesn't fit
    │   └── DamagedCheckpoint   its files are there and aren't what they should be
    ├── MissingRecord           a run holds nothing that a section of a report could be made of
    └── TrainingError           training can't go on (a loss that isn't finite, a worker that died)

Those not defined here stand beside what raises them. Bugs are other exceptions and keep their traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AhekitError(Exception):
    """Something the user can mend; the message says what is wrong, where, and what to do."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The message as it is shown; more than one line only where several things are wrong."""
        return (str(self),)


class UsageError(AhekitError):
    """The command line or a spec asks for something that can't be."""

    exit_code = 2


class SpecError(UsageError):
    """One or more fields of a run spec are wrong; `problems` holds a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each problem."""
        return self.problems


class UnknownNameError(UsageError):
    """A name that nothing is registered under: the nearest names, then all of them; `known` holds them.

    Args:
        kind: What was looked for ("model", "class", "layer").
        known: Every name, searched for near ones.
        hint: How to add more, or what else to do.
        listed: The names to print when `known` is too long to.

    Example:
        >>> str(UnknownNameError("class", "alter", ["altar", "apse"]))
        "no class named 'alter'; did you mean altar? Known: altar, apse"
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        hint: str = "",
        listed: Iterable[str] | None = None,
    ) -> None:
        self.known = names = sorted(set(known))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        shown = ", ".join(names if listed is None else listed) or "none"
        message = f"no {kind} named {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ".")
        super().__init__(f"{message} Known: {shown}" + (f". {hint}" if hint else ""))


class PluginError(AhekitError):
    """A plugin doesn't load, breaks its contract, or shares its name with another."""


class DataError(AhekitError):
    """A dataset, image or archive can't be used."""


class RunError(AhekitError):
    """A run folder can't be found, read or written."""


class CheckpointError(AhekitError):
    """A checkpoint or weights file can't be read, or doesn't fit the model."""


class TrainingError(AhekitError):
    """Training can't go on."""
