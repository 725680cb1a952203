"""A report as JSON, for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import picture_name
from ahekit.sections import Figure, Section, Table

SCHEMA_VERSION = 1
_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def render_json(report: Report, figures: str = "", forms: Sequence[str] = ()) -> str:
    """The whole report as strict JSON: a number that isn't finite becomes null.

    Args:
        figures: Folder of the figures relative to the file.
        forms: Kinds of files there are of each, as their suffixes say.
    """
    values = {
        "schema_version": SCHEMA_VERSION,
        "run": report.run,
        "title": report.title,
        "subtitle": report.subtitle,
        "caveat": report.caveat,
        "verdict": report.verdict,
        "facts": dict(report.facts),
        "missing": [{"section": missing.section, "reason": missing.reason} for missing in report.missing],
        "sections": [_section(section, figures, forms) for section in report.sections],
    }
    text = json.dumps(plain_values(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # JSON itself escapes only the controls below a space. The others stand in strings alone, and may be escaped there.
    return _HIDDEN.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def _section(section: Section, figures: str, forms: Sequence[str]) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "reading": section.reading,
        "values": section.values,
        "tables": [_table(table) for table in section.tables],
        "figures": [_figure(section, figure, figures, forms) for figure in section.figures],
        "widgets": [{"name": widget.name, "text": widget.text} for widget in section.widgets],
    }


def _table(table: Table) -> dict[str, Any]:
    columns = [column.name for column in table.columns]
    return {"title": table.title, "columns": columns, "rows": table.rows, "note": table.note}


def _figure(section: Section, figure: Figure, figures: str, forms: Sequence[str]) -> dict[str, Any]:
    stem = picture_name(section, figure)
    files = {"files": [f"{figures}/{stem}.{form}" for form in forms]} if forms else {}
    facts = {"name": figure.name, "title": figure.title, "alt": figure.alt, "caption": figure.caption}
    return {**facts, **files, "data": figure.data}


def plain_values(value: Any) -> Any:
    """A value in Python's own types all the way down, as JSON takes them; a number that isn't finite is None."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # a NumPy number or array
        return plain_values(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_values(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
