"""Photos as JSON, an object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from ahekit.errors import DataError
from ahekit.files import atomic_file, full_path
from ahekit.prediction.listing import shown_path
from ahekit.protocols import Params, PhotoRow, SurveyFacts
from ahekit.wording import counted


class JsonLinesParams(Params):
    """What can be changed about it."""

    out: Path | None = Field(None, description="file to write; none: photos.jsonl in the survey's folder")


class JsonLines:
    """A line of JSON for each photo, with unrounded numbers, for scripts."""

    Params = JsonLinesParams

    def write(self, rows: Iterable[PhotoRow], facts: SurveyFacts, params: JsonLinesParams) -> str:
        """Write it."""
        path = full_path(params.out) if params.out else facts.folder / "photos.jsonl"
        number = 0
        try:
            with atomic_file(path) as file:
                for row in rows:
                    line = json.dumps(_values(row, facts), ensure_ascii=False)
                    file.write(line.encode() + b"\n")
                    number += 1
        except OSError as error:
            raise DataError(f"{path}: can't be written ({error.strerror})") from error
        return f"{counted(number, 'photo')} in {path}"


def _values(row: PhotoRow, facts: SurveyFacts) -> dict[str, Any]:
    """A photo's object. A path that is no UTF-8 has its bytes beside it, in hexadecimal digits."""
    values: dict[str, Any] = {
        "path": shown_path(row.path),
        "file": shown_path(str(row.file)),
        "state": row.state,
        "class": row.class_name,
        "confidence": row.confidence,
        "runner_up": row.runner_up,
        "runner_up_confidence": row.runner_up_confidence,
        "reason": row.reason,
        "decision": row.decision,
        "decided_at": row.decided_at,
        "model": facts.model,
        "model_hash": facts.model_hash,
    }
    raw = os.fsencode(row.file)
    try:
        raw.decode()
    except UnicodeDecodeError:
        values |= {"path_bytes": os.fsencode(row.path).hex(), "file_bytes": raw.hex()}
    return values
