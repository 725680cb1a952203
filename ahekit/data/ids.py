"""Sample ids and the files they stand for."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath

from ahekit.errors import DataError


def sample_path(root: Path, sample_id: str) -> Path:
    """The file that an id stands for, below a dataset's root.

    Ids come with predictions and manifests that other people made; none leads out of the root by what it
    says. A link that the dataset itself holds is followed: whoever laid it meant it.

    Raises:
        DataError: The id is no path below the root.

    Example:
        >>> sample_path(Path("ahe"), "test/altar/1.jpg").as_posix()
        'ahe/test/altar/1.jpg'
        >>> sample_path(Path("ahe"), "../1.jpg")
        Traceback (most recent call last):
            ...
        ahekit.errors.DataError: '../1.jpg' is no image below ahe: an id is a path within its dataset
    """
    # By the rules of the system it is read on: a drive or a backslash leads somewhere on Windows alone.
    path = PurePath(sample_id)
    if not path.parts or path.anchor or ".." in path.parts or "\0" in sample_id:
        raise DataError(f"{sample_id!r} is no image below {root}: an id is a path within its dataset")
    return root / sample_id


def short_name(sample: str) -> str:
    """A sample id's class folder and file name, lower case: what editions of one dataset have in common."""
    path = PurePosixPath(sample)
    return f"{path.parent.name}/{path.stem}".lower()
