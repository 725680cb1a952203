"""Names of models that packages bring, where a command takes the path of a model folder."""

from __future__ import annotations

from ahekit.registry import PRETRAINED


def with_path(name: str) -> str:
    """The path of the model folder that a registered name stands for; any other name as it is.

    Raises:
        AhekitError: The model of that name isn't whole.
    """
    if name not in PRETRAINED.names():
        return name
    from ahekit.opening import registered_model

    return str(registered_model(name).path)
