"""An empty survey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ahekit.prediction.survey import Survey
from tests.prediction.networks import MODEL


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[Survey]:
    with Survey.create(tmp_path / "survey", MODEL) as made:
        yield made
