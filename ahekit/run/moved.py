"""A run whose images were moved: looked at in their new place, once they are seen to be the same."""

from __future__ import annotations

from ahekit.errors import RunError
from ahekit.run.folder import Run


def with_data(run: Run, source: str) -> Run:
    """The run with its images in another place; nothing is written.

    Args:
        source: A folder, an archive or an installed dataset.

    Raises:
        RunError: The images there are not those the run was made with, or the run doesn't say which it was made with.
        AhekitError: There are none.
    """
    from ahekit.catalog import resolve
    from ahekit.data.cache import contents_of
    from ahekit.data.folder import scan

    noted = run.manifest.data.fingerprint
    if noted is None:
        raise RunError(f"{run.name}: its manifest doesn't say which images it was made with")
    root = resolve(source).root
    if contents_of(scan(root)) != noted:
        raise RunError(f"{run.name}: the images in {root} are not those the run was made with")
    return Run(run.path, data=root)
