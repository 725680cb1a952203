"""Writes the lessons' pages from real runs: python docs/make_lessons.py [TOPIC…].

Without a topic, every lesson that has no page yet. `--from FOLDER` takes the outcome of an `ahekit explain` that was
run before, as the long ones (`--full`) are. The list of lessons is written anew each time.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from ahekit.cli.explain import duration
from ahekit.protocols import describe
from ahekit.registry import LESSONS

FOLDER = Path(__file__).parent / "explanation" / "lessons"
AHEKIT = (sys.executable, "-m", "ahekit")
NETWORK = (
    "train --data sample --model cnn5 --accum 2 --recipe assignment --batch-size 8 --image-size 32 --epochs 5 "
    "--set model.params.hidden=[256]"
)
"""What the pages' own network is trained by, as in the tutorial, unless `--run` names another."""


def main() -> None:
    """Make the pages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC")
    parser.add_argument("--run", help="whose network; without it, one is trained on the embedded sample")
    parser.add_argument("--full", action="store_true", help="the long experiment")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="what `ahekit explain` left")
    parser.add_argument("--command", help="the command that made what --from names, as the page tells it")
    parser.add_argument("--note", default="", help="what a reader should know of how that was made")
    parser.add_argument("--photographs", action="store_true", help="what --from names shows others' photographs")
    asked = parser.parse_args()
    topics = asked.topics or [name for name in own_lessons() if not (FOLDER / name).is_dir()]
    if asked.source:
        (topic,) = topics
        command = asked.command or f"ahekit explain {topic}"
        store(topic, asked.source, command, note=asked.note, photographs=asked.photographs)
    elif topics:
        with tempfile.TemporaryDirectory() as folder:
            run = asked.run
            for topic in topics:
                words = ["explain", topic, *(["--full"] if asked.full else [])]
                told = shlex.join(["ahekit", *words])
                network = []
                if getattr(LESSONS.get(topic), "uses_run", True):
                    run = run or train(Path(folder))
                    network = ["--run", run]
                    told = told if asked.run else f"ahekit {NETWORK}\n{told}"
                out = Path(folder) / topic
                call([*words, *network, "--out", str(out)])
                store(topic, out, told)
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")


def own_lessons() -> list[str]:
    """The lessons that come with ahekit."""
    return [entry.name for entry in LESSONS.entries() if entry.package == "ahekit_plugins"]


def call(words: Sequence[str]) -> None:
    """Run an ahekit command."""
    subprocess.run([*AHEKIT, *words], check=True)


def train(folder: Path) -> str:
    """Train the pages' own network; returns its run's folder."""
    call([*NETWORK.split(), "--runs", str(folder / "runs")])
    (run,) = (folder / "runs").iterdir()
    return str(run)


def store(topic: str, source: Path, command: str, *, note: str = "", photographs: bool = False) -> None:
    """Make the page of a lesson's outcome: its Markdown and figures, and the page that answers to the reader.

    Args:
        photographs: The images are others' photographs, which are not ours to publish.
    """
    title, _, text = without_home((source / "report.md").read_text(encoding="utf-8")).partition("\n\n")
    target = FOLDER / topic
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = ["report.html", *(path.relative_to(source).as_posix() for path in source.glob("figures/*.svg"))]
    has_plain = False
    for name in files:
        content = without_home((source / name).read_text(encoding="utf-8"))
        shown = plain_pictures(plain_tiles(content)) if photographs else content
        has_plain |= shown != content
        place = target / name.replace("report.html", "page.html")
        place.parent.mkdir(exist_ok=True)
        place.write_text(shown, encoding="utf-8")
    head = (
        f"Written by:\n\n```console\n{prompted(command)}\n```\n\n"
        "Below is what the command writes as Markdown. [The same as a page](page.html) has the parts that answer to "
        "you, "
        "and works offline."
    )
    if has_plain:
        head += " Pictures are shown as their mean colour here, since the photographs are not ours to publish."
    head += f"\n\n{note}" if note else ""
    (target / "index.md").write_text(f"{title}\n\n{head}\n\n{text}", encoding="utf-8")


def without_home(text: str) -> str:
    """The text with paths below the home of whoever made it as everybody writes them."""
    return text.replace(f"{Path.home()}/", "~/")


def plain_tiles(page: str) -> str:
    """The page with each image of a sheet of tiles as its mean colour."""

    def plain(match: re.Match[str]) -> str:
        side = int(match["side"])
        sheet = Image.open(io.BytesIO(base64.b64decode(match["sheet"])))
        small = sheet.resize((sheet.width // side, sheet.height // side), Image.Resampling.BOX)
        content = io.BytesIO()
        small.resize(sheet.size, Image.Resampling.NEAREST).save(content, "jpeg", quality=85)
        return match[0].replace(match["sheet"], base64.b64encode(content.getvalue()).decode())

    return re.sub(r'"tile": ?(?P<side>\d+),.*?"tiles": ?"(?P<sheet>[A-Za-z0-9+/=]+)"', plain, page)


def plain_pictures(text: str) -> str:
    """A page or figure with each picture as its mean colour."""

    def plain(match: re.Match[str]) -> str:
        picture = Image.open(io.BytesIO(base64.b64decode(re.sub(r"\s", "", match["content"]))))
        content = io.BytesIO()
        picture.convert("RGB").resize((1, 1), Image.Resampling.BOX).save(content, "png")
        return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"

    return re.sub(r"data:image/(?:png|webp|jpeg);base64,(?P<content>[A-Za-z0-9+/=\s]{40,})", plain, text)


def prompted(command: str) -> str:
    """Lines as a terminal shows them."""
    return "\n".join(f"$ {line}" for line in command.splitlines())


def index() -> str:
    """The list of lessons."""
    return "\n\n".join(index_blocks()) + "\n"


def index_blocks() -> Iterator[str]:
    """A heading, what a lesson is, and a row for each."""
    yield "<!-- Written by docs/make_lessons.py; don't edit. -->"
    yield "# Lessons"
    yield (
        "A lesson takes an idea that a course's text claims something about, runs an experiment on it with your own "
        "network, and says what the\n"
        "numbers make of each claim: *supported*, *not supported*, or *undecided by these numbers*. `ahekit explain "
        "TOPIC` runs it and writes a\n"
        "page to read and try; its three exercises are checked by `ahekit explain TOPIC --check answers.yaml`. With "
        "`--full` the experiment is\n"
        "the long one, on real images."
    )
    rows = ["| Lesson | What it does | Takes | `--full` |", "|---|---|---:|---:|"]
    for name in own_lessons():
        lesson = LESSONS.get(name)
        has_page = (FOLDER / name / "index.md").is_file()
        shown = f"[{name}]({name}/index.md)" if has_page else f"`{name}`"
        quick = duration(lesson)
        full = duration(lesson, full=True)
        rows.append(f"| {shown} | {re.sub(r'[|]', '', describe(lesson))} | {quick} | {full if full != quick else ''} |")
    yield "\n".join(rows)
    yield "Times are those of two processor cores. A lesson of your own: [how](../../how-to/plugins/lesson.md)."


if __name__ == "__main__":
    main()
