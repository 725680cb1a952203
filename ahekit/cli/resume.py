"""`ahekit resume`: go on with an interrupted run, to the same weights as if it had never stopped."""

from __future__ import annotations

from ahekit.cli import options, training
from ahekit.run import find_run, runs_root


def resume(
    run: options.RunArgument = None,
    *,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Go on with an interrupted run, from its last checkpoint to the same weights as an unbroken one."""
    training.speak_once(quiet=quiet, json=json)
    training.resume_run(find_run(runs_root(runs), run))
