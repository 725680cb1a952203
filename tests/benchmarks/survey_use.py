"""How long it takes to do something with a survey: sort, undo, write, list, draw; and how its page scrolls.

    python tests/benchmarks/survey_use.py [--photos 20000] [--folder FOLDER]   seconds by the clock and of the processor
    python tests/benchmarks/survey_use.py --scroll [--photos 10000]            the gallery in Chromium (playwright)

The photos are files of a few bytes: nothing of this opens one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ahekit.data.classes import AHE_CLASSES
from ahekit.prediction.gallery import write_gallery
from ahekit.prediction.listing import write_predictions_csv
from ahekit.prediction.sorting import sort_photos, undo_sort
from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel
from ahekit.prediction.writing import write_survey

STATES = {"sure": 80, "review": 12, "unknown": 6, "unreadable": 2}
FRAMES = 300


def make_survey(folder: Path, photos: int) -> Survey:
    """A survey of photos in seven folders, whose names come again in each."""
    rng = random.Random(0)
    records = []
    for number in range(photos):
        file = folder / "photos" / f"day {number % 7}" / f"IMG_{number // 7:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"photo")
        (state,) = rng.choices(list(STATES), list(STATES.values()))
        name, other = rng.sample(AHE_CLASSES, 2)
        confidence = rng.uniform(0.9, 1) if state == "sure" else rng.uniform(0.3, 0.9)
        record = PhotoRecord(f"{file.parent.name}/{file.name}", file, state=state, reason="as an example")  # type: ignore[arg-type]
        if state != "unreadable":
            record = replace(
                record,
                class_name=name,
                confidence=confidence,
                runner_up=other,
                runner_up_confidence=(1 - confidence) * 0.7,
            )
        records.append(record)
    survey = Survey.create(folder / "survey", SurveyModel("example 1", "ab" * 32, AHE_CLASSES))
    survey.record(records)
    return survey


def timed(what: str, work: Callable[[], object]) -> None:
    """Do it, and print how long it took."""
    clock = time.perf_counter()
    processor = time.process_time()
    work()
    processor = time.process_time() - processor
    print(f"{what:44} {time.perf_counter() - clock:7.1f} s, {processor:5.1f} s of the processor", flush=True)


def use(folder: Path, photos: int) -> None:
    """Sort, undo, write, list, draw."""
    survey = make_survey(folder, photos)
    into = folder / "sorted"
    os.sync()
    timed("sorted into links", lambda: sort_photos(survey.rows(), into))
    timed("sorted again, nothing new", lambda: sort_photos(survey.rows(), into))
    timed("undone", lambda: undo_sort(into))
    timed("moved", lambda: sort_photos(survey.rows(), into, mode="move"))
    timed("undone", lambda: undo_sort(into))
    for name in ("csv", "jsonl", "xmp"):
        timed(f"written as {name}", lambda name=name: write_survey(survey, name, {}))  # type: ignore[misc]
    timed("written as xmp again, nothing new", lambda: write_survey(survey, "xmp", {}))
    timed("written as xmp in German", lambda: write_survey(survey, "xmp", {"language": "de"}))
    timed("sidecars removed", lambda: write_survey(survey, "xmp", {"remove": True}))
    timed("predictions.csv", lambda: write_predictions_csv(survey))
    timed("gallery", lambda: write_gallery(survey))


def scroll(folder: Path, photos: int) -> None:
    """Load the gallery in Chromium, without a graphics card, and scroll it by two distances a frame."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    survey = make_survey(folder, photos)
    for number, row in enumerate(survey.rows()):
        file = survey.thumbnail_path(row.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((160, 120), 20 + number % 50).convert("RGB").save(file, quality=80)
    page_file = write_gallery(survey).absolute()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        clock = time.perf_counter()
        page.goto(page_file.as_uri())
        page.wait_for_selector("#photos li")
        print(f"{photos:,d} photos: first cards after {time.perf_counter() - clock:.2f} s")
        for pixels in (60, 300):
            before = measures(session)
            frames = page.evaluate(
                """async ([frames, pixels]) => {
                  scrollTo(0, 0);
                  const times = [];
                  for (let number = 1; number <= frames; number++) {
                    const start = performance.now();
                    scrollTo(0, number * pixels);
                    await new Promise((done) => requestAnimationFrame(done));
                    times.push(performance.now() - start);
                  }
                  return times;
                }""",
                [FRAMES, pixels],
            )
            after = measures(session)
            spent = {name: 1000 * (after[name] - before[name]) / FRAMES for name in after}
            slowest = sorted(frames)[int(0.95 * FRAMES)]
            arranging = spent["LayoutDuration"] + spent["RecalcStyleDuration"]
            print(f"{pixels} pixels a frame: median {statistics.median(frames):.1f} ms, 95 % within {slowest:.1f} ms")
            print(f"  of the page's processor time {spent['TaskDuration']:.1f} ms a frame, ", end="")
            print(f"script {spent['ScriptDuration']:.1f}, layout and style {arranging:.1f}")
        browser.close()


def measures(session: object) -> dict[str, float]:
    """Chromium's sums of the page's thread's processor time, in seconds."""
    names = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
    answer = session.send("Performance.getMetrics")  # type: ignore[attr-defined]
    return {each["name"]: each["value"] for each in answer["metrics"] if each["name"] in names}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    parser.add_argument("--scroll", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.scroll:
            scroll(Path(folder), given.photos or 10_000)
        else:
            use(Path(folder), given.photos or 20_000)


if __name__ == "__main__":
    main()
