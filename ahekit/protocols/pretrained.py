"""What a pretrained model provides: a model folder that a package brings."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel


class PretrainedModel(Protocol):
    """A trained network that a package brings. Entry-point group `ahekit.pretrained`."""

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set, which is nothing (`ahekit.protocols.NoParams`); a class attribute does."""
        ...

    def folder(self) -> Path:
        """Its model folder, as `ahekit export` makes it."""
        ...
