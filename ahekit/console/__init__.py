"""What people see: messages, tables and progress; the only part that prints.

Text for people goes to stdout, warnings and errors to stderr. With `configure(json=True)` stdout carries JSON
alone, one object a line, and text for people goes to stderr; with `configure(quiet=True)` only warnings, errors
and JSON are left.
"""

from __future__ import annotations

from ahekit.console.bars import PLAIN_INTERVAL, TrainingDisplay, progress, training_display
from ahekit.console.logs import telling_logs
from ahekit.console.messages import confirm, error, say, show_json, show_path, warn
from ahekit.console.output import as_markup, configure
from ahekit.console.tables import show_table

__all__ = [
    "PLAIN_INTERVAL",
    "TrainingDisplay",
    "as_markup",
    "configure",
    "confirm",
    "error",
    "progress",
    "say",
    "show_json",
    "show_path",
    "show_table",
    "telling_logs",
    "training_display",
    "warn",
]
