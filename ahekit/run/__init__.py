"""Runs on disk: one folder each, the only place that is written into while training; finding and removing them."""

from __future__ import annotations

from ahekit.run.finding import BEST, check_classes, find_checkpoint, find_run, list_runs, runs_root
from ahekit.run.folder import Run, resume_command
from ahekit.run.looks import keep_look, kept_look
from ahekit.run.moved import with_data
from ahekit.run.removal import check_removable, remove_run

__all__ = [
    "BEST",
    "Run",
    "check_classes",
    "check_removable",
    "find_checkpoint",
    "find_run",
    "keep_look",
    "kept_look",
    "list_runs",
    "remove_run",
    "resume_command",
    "runs_root",
    "with_data",
]
