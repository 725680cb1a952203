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
    ├── ModelFolderError        a model folder can't be read, or made where it was asked for
    ├── MissingRecord           a run holds nothing that a section of a report could be made of
    ├── PartlyDone              some photos couldn't be dealt with; the others were
    ├── MemoryShortage          the machine or its accelerator has too little memory
    ├── MachineError            the system refuses something that nothing else here has words for
    └── TrainingError           training can't go on (a loss that isn't finite, a worker that died)

Those not defined here stand beside what raises them. Bugs are other exceptions and keep their traceback.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

_MOST_PROBLEMS = 20  # lines shown of what couldn't be done
_LONGEST_NAME = 120  # characters of a name that isn't known, in the message about it


class AhekitError(Exception):
    """Something the user can mend; the message says what is wrong, where, and what to do."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The message as it is shown; more than one line only where several things are wrong."""
        return (str(self),)

    def __reduce__(self) -> tuple[Callable[..., AhekitError], tuple[Any, ...]]:
        # What was said is kept, whatever __init__ makes it of: an error comes back from a process of its own as it was.
        return _said_before, (type(self), self.args, self.__dict__)


def _said_before(kind: type[AhekitError], args: tuple[Any, ...], state: dict[str, Any]) -> AhekitError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


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
        if len(name) > _LONGEST_NAME:
            name = name[:_LONGEST_NAME] + "…"  # a message holds no megabytes
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


class MemoryShortage(AhekitError):
    """What was asked for doesn't fit into the memory of the machine or its accelerator."""

    @classmethod
    def behind(cls, error: BaseException) -> MemoryShortage | None:
        """The shortage that an exception of Python, numpy or torch is about; None when it is about something else."""
        text = " ".join(str(error).split())
        # torch raises a RuntimeError of no class of its own on the processor, and OutOfMemoryError on an accelerator.
        is_shortage = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
        if not is_shortage and not re.search("can't allocate memory|not enough memory", text):
            return None
        tried = re.search(r"(?:tried to allocate|Unable to allocate|Tried to allocate) [\d.]+ \w+", text)
        detail = f" ({tried[0][:1].lower()}{tried[0][1:]})" if tried else ""
        return cls(f"not enough memory{detail}; choose a smaller batch, image size or network")


class MachineError(AhekitError):
    """What the system refused, where whoever asked it has no better words for it."""

    @classmethod
    def behind(cls, error: BaseException) -> MachineError | None:
        """What the system says of a file, or of the working folder; None when an exception is no such thing."""
        if not isinstance(error, OSError) or not error.strerror:
            return None
        try:
            os.getcwd()
        except OSError:
            return cls("the working folder is gone or can't be entered; change to another one")
        names = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return cls(f"{names}: {error.strerror}" if names else f"the system refuses it: {error.strerror}")


class PartlyDone(AhekitError):
    """Some of many things couldn't be done, and all others were.

    Args:
        done: What was done, and how many things were not, in one line.
        problems: A line for each that wasn't; the first of them are shown.
    """

    def __init__(self, done: str, problems: Iterable[str]) -> None:
        self.done = done
        self.problems = tuple(problems)
        super().__init__(done)

    @property
    def lines(self) -> tuple[str, ...]:
        """The first problems, how many more there are, and what was done."""
        shown = self.problems[:_MOST_PROBLEMS]
        left = len(self.problems) - len(shown)
        more = (f"and {left:,d} more",) if left else ()
        return (*shown, *more, self.done)


class TrainingError(AhekitError):
    """Training can't go on."""
