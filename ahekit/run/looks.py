"""What was seen in a run's network, kept beside it, so that a report needn't load the network to show it again."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from ahekit.errors import AhekitError
from ahekit.evaluation.record import Look
from ahekit.run.finding import find_checkpoint
from ahekit.run.folder import Run

_FACTS = "look"
_VERSION = 1


def keep_look(run: Run, name: str, params: Mapping[str, Any], look: Look) -> None:
    """Keep what a visualizer of that name, with those parameters, sees in the run's best weights.

    Raises:
        AhekitError: The run has no best weights, or its folder can't be written.
    """
    import numpy as np

    facts = json.dumps({"title": look.title, "notes": list(look.notes)})
    content = io.BytesIO()
    np.savez_compressed(content, **{_FACTS: np.array(facts), **look.arrays})  # type: ignore[arg-type]
    run.write_bytes(_file(run, name, params), content.getvalue())


def kept_look(run: Run, name: str, params: Mapping[str, Any]) -> Look | None:
    """What was kept of that look; None where nothing was, or it can't be read."""
    import numpy as np

    try:
        # Of a file that it can't read, numpy would leave open what it opened itself.
        with (run.path / _file(run, name, params)).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        facts = json.loads(str(arrays.pop(_FACTS)))
        return Look(str(facts["title"]), tuple(map(str, facts["notes"])), arrays)
    except (AhekitError, OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _file(run: Run, name: str, params: Mapping[str, Any]) -> str:
    """By what is looked at and how: the files of the weights as they are now, the visualizer and its parameters."""
    checkpoint = find_checkpoint(run)
    weights = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(checkpoint.glob("*.safetensors"))
        if path.name in ("model.safetensors", "average.safetensors")
    ]
    asked = [_VERSION, name, dict(params), checkpoint.name, weights]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return f"figures/looks/{key}.npz"
