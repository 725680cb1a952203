"""The model that comes with ahekit; `docs/specs/lite2-128.yaml` trains it, `ahekit export --half` made its folder."""

from __future__ import annotations

from pathlib import Path

from ahekit.protocols import NoParams


class Ahe:
    """Ten architectural heritage elements, from altar to vault: EfficientNet-Lite2, trained on AHE's 128-px edition."""

    Params = NoParams

    def folder(self) -> Path:
        """`ahe/` beside this file."""
        return Path(__file__).with_suffix("")
