"""What every kind of plugin has: validated parameters, and a docstring whose first line describes it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Base of a plugin's parameters: frozen, and a key that is no field is refused.

    Each field is an option of the plugin's command: its type, default, bounds and description are the option's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoParams(Params):
    """For a plugin that has nothing to set."""


def describe(plugin: object) -> str:
    """The first line of a plugin's docstring."""
    text = type(plugin).__doc__
    return text.strip().split("\n", 1)[0] if isinstance(text, str) else ""
