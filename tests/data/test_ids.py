"""Ids name files below their dataset's root, and no others."""

from pathlib import Path

import pytest

from ahekit.data.ids import sample_path
from ahekit.errors import DataError


@pytest.mark.parametrize(
    "sample_id",
    [
        "/etc/x.png",
        "../x.png",
        "test/../../x.png",
        "test/..",
        "..",
        "",
        ".",
        "//server/share/x.png",
        "test/a\0.png",
    ],
)
def test_an_id_never_leads_out_of_its_root(sample_id: str) -> None:
    with pytest.raises(DataError, match="an id is a path within its dataset"):
        sample_path(Path("data"), sample_id)


@pytest.mark.parametrize("sample_id", ["1.jpg", "test/altar/1.jpg", "test/..1.jpg", "test/a b/ü.jpg", "./1.jpg"])
def test_an_id_below_its_root_is_its_file(sample_id: str) -> None:
    assert sample_path(Path("data"), sample_id) == Path("data") / sample_id


def test_a_link_that_the_dataset_holds_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"picture")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "altar").symlink_to(tmp_path / "elsewhere")

    assert sample_path(tmp_path / "data", "altar/1.jpg").read_bytes() == b"picture"
