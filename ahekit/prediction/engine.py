"""Photos to a survey, as a stream: readers, workers that decode and run the network, one writer.

Each worker decodes photos until a batch is whole, then runs the network on it itself, on one core, while the others go
on decoding: no core waits for another. What is in flight is bounded, whatever the number of photos. What was written
stays, however the process ends; the next one looks only at what is missing, changed, or couldn't be read.
"""

from __future__ import annotations

import fcntl
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ahekit.data.decode import quiet_pillow
from ahekit.data.memory_budget import MemoryBudget
from ahekit.errors import DataError
from ahekit.prediction.looking import Content, Look, look_into, open_photo
from ahekit.prediction.planning import Task, decoder_name
from ahekit.prediction.survey import WORKING_FILE, Survey, decide
from ahekit.preprocessing import Preprocessing
from ahekit.signals import StopRequest

if TYPE_CHECKING:
    from ahekit.prediction.deciding import Acceptance, Decider

BATCH = 16
"""Photos to a batch. Always so many go through the network, blank ones in the last batch: what comes out for a photo
then depends on no other one."""
READERS = 2
READ_AHEAD = 256 * 2**20
"""Bytes of files that were read and wait to be decoded."""
COMMIT_SECONDS = 1.0
COMMIT_PHOTOS = 256


class Network(Protocol):
    """What the engine runs; `ahekit.model_folder.Predictor` is one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes its pixels."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Logits `(B, C)` and embeddings `(B, D)` of pixels `(B, S, S, 3)`; may be called by several threads."""
        ...


@dataclass
class Outcome:
    """What was done.

    Attributes:
        looked_at: Photos that were written, the unreadable among them.
        unchanged: Files with a new time and the same content.
        notes: What should be known of single photos.
        stopped: Somebody asked for a stop before all was done.
    """

    looked_at: int = 0
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)
    stopped: bool = False


class _Line:
    """Threads that bring tasks to records; made for one survey, and used up by it."""

    def __init__(
        self,
        network: Network,
        *,
        workers: int,
        thumbnail: Callable[[str], Path] | None,
    ) -> None:
        self.network = network
        self.thumbnail = thumbnail
        self.decoder = decoder_name()
        self.budget = MemoryBudget(READ_AHEAD)
        # Enough that a batch can fill while others are being run.
        self.capacity = BATCH * (workers + 1) + 2 * workers
        self.tasks: queue.Queue[Task | None] = queue.Queue()
        self.contents: queue.Queue[Content | None] = queue.Queue(2 * workers)
        self.results: queue.Queue[list[Look] | BaseException] = queue.Queue()
        self.is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[Look] = []
        self._reading = READERS
        self._working = workers
        self._threads = [
            *(threading.Thread(target=self._guarded, args=(self._read,), daemon=True) for _ in range(READERS)),
            *(threading.Thread(target=self._guarded, args=(self._work,), daemon=True) for _ in range(workers)),
        ]
        self.workers = workers
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """No task will come any more: what is waiting for a whole batch is run."""
        for _ in range(READERS):
            self.tasks.put(None)

    def close(self) -> None:
        """Let the threads end after what each is doing just now."""
        self.is_stopping.set()
        self.finish()
        # Whoever waits for room in the queue gets it.
        deadline = time.monotonic() + 30
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            with suppress(queue.Empty):
                content = self.contents.get(timeout=0.02)
                if content is not None:
                    content.held.close()
                else:
                    self.contents.put(None)
                    time.sleep(0.02)

    def _guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:  # handed to the thread that writes, which raises it
            self.is_stopping.set()
            self.results.put(error)

    def _read(self) -> None:
        while (task := self.tasks.get()) is not None and not self.is_stopping.is_set():
            self.contents.put(open_photo(task, self.budget, self.decoder))
        with self._lock:
            self._reading -= 1
            is_last = not self._reading
        if is_last:
            for _ in range(self.workers):
                self.contents.put(None)

    def _work(self) -> None:
        _use_one_core()
        while (content := self.contents.get()) is not None:
            if self.is_stopping.is_set():
                content.held.close()
                continue
            look = look_into(content, self.network.preprocessing, self.thumbnail)
            if look.pixels is None:
                self.results.put([look])
                continue
            if batch := self._batch_with(look):
                self.results.put(self._run(batch))
        with self._lock:
            self._working -= 1
            rest = self._waiting if not self._working else []
        # Whoever ends last takes what is left.
        if rest and not self.is_stopping.is_set():
            self.results.put(self._run(rest))

    def _batch_with(self, look: Look) -> list[Look]:
        with self._lock:
            self._waiting.append(look)
            if len(self._waiting) < BATCH:
                return []
            batch = self._waiting
            self._waiting = []
            return batch

    def _run(self, batch: Sequence[Look]) -> list[Look]:
        """The looks with what the network says of them."""
        size = self.network.preprocessing.size
        pixels = np.zeros((BATCH, size, size, 3), np.uint8)
        for place, look in enumerate(batch):
            assert look.pixels is not None  # who has none isn't put into a batch
            pixels[place] = look.pixels
        logits, embeddings = self.network(pixels)
        return [
            replace(
                look,
                pixels=None,
                record=replace(
                    look.record,
                    logits=np.ascontiguousarray(logits[place], np.float32).tobytes(),
                    embedding=np.ascontiguousarray(embeddings[place], np.float16).tobytes(),
                ),
            )
            for place, look in enumerate(batch)
        ]


def look_at(
    survey: Survey,
    tasks: Iterable[Task],
    network: Network,
    decider: Decider,
    acceptance: Acceptance,
    *,
    workers: int | None = None,
    thumbnails: bool = True,
    stop: StopRequest | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Look at photos and write what they show into the survey, as it comes.

    Args:
        workers: Threads that decode and compute; None: as many as there are cores.
        stop: Asked between photos; what is done by then is written.
        progress: Told how many more photos are written.

    Raises:
        DataError: The survey can't be written; what was written before stays.
    """
    stop = stop or StopRequest()
    outcome = Outcome()
    threads = workers or usable_cores()
    thumbnail = survey.thumbnail_path if thumbnails else None
    waiting: list[Look] = []
    written = time.monotonic()
    coming = _still_missing(survey, tasks)

    def write(looks: Sequence[Look]) -> None:
        # Decided many at a time: the reference that they are compared with is read once then, not once a batch.
        _write(survey, _decided(looks, decider, acceptance, network.class_names), outcome)
        progress(len(looks))

    with (
        quiet_pillow(),
        _thumbnails_in_words(survey),
        closing(_Line(network, workers=threads, thumbnail=thumbnail)) as line,
    ):
        outstanding = 0
        is_more = True
        while True:
            while is_more and outstanding < line.capacity:
                task = next(coming, None)
                if task is None:
                    is_more = False
                    line.finish()
                    break
                line.tasks.put(task)
                outstanding += 1
            is_late = waiting and time.monotonic() - written > COMMIT_SECONDS
            if is_late or len(waiting) >= COMMIT_PHOTOS or (waiting and not outstanding):
                write(waiting)
                waiting = []
                written = time.monotonic()
            if not outstanding or stop.asked:
                break
            try:
                result = line.results.get(timeout=0.2)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                if waiting:
                    write(waiting)
                raise result
            outstanding -= len(result)
            waiting += result
        if waiting:
            write(waiting)
        outcome.stopped = stop.asked and (outstanding > 0 or is_more)
    return outcome


def _still_missing(survey: Survey, tasks: Iterable[Task]) -> Iterator[Task]:
    """The tasks without those that another process has done since they were planned."""
    for task in tasks:
        if task.hash is None:
            with survey.telling():
                row = survey.database.execute(
                    "SELECT 1 FROM photos WHERE path = ? AND hash IS NOT NULL AND state != 'unreadable'",
                    (os.fsencode(task.photo.path),),
                ).fetchone()
            if row is not None:
                continue
        yield task


def _decided(looks: Sequence[Look], decider: Decider, acceptance: Acceptance, names: Sequence[str]) -> list[Look]:
    """The looks with what is decided on them; those that the network wasn't asked about as they are."""
    logits = [look.record.logits for look in looks if look.record.logits is not None]
    embeddings = [look.record.embedding for look in looks if look.record.embedding is not None]
    decided = iter(decide(decider, acceptance, names, logits, embeddings) if logits else ())
    return [
        look if look.record.logits is None else replace(look, record=replace(look.record, **next(decided).columns))
        for look in looks
    ]


def _write(survey: Survey, looks: Sequence[Look], outcome: Outcome) -> None:
    """Write looks in one transaction."""
    survey.record(look.record for look in looks if not look.is_unchanged)
    unchanged = [look.record for look in looks if look.is_unchanged]
    if unchanged:
        with survey.transaction():
            survey.database.executemany(
                "UPDATE photos SET size = ?, mtime_ns = ?, predicted_at = ? WHERE path = ?",
                ((record.size, record.mtime_ns, record.predicted_at, os.fsencode(record.path)) for record in unchanged),
            )
    outcome.unchanged += len(unchanged)
    outcome.looked_at += len(looks) - len(unchanged)
    outcome.notes += [f"{look.record.path}: {look.note}" for look in looks if look.note]


@contextmanager
def _thumbnails_in_words(survey: Survey) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or survey.folder
        raise DataError(
            f"{os.fsdecode(place)}: can't be written ({error.strerror}); mend that and run the same command again, "
            "what is done is kept"
        ) from error


@contextmanager
def first_come(folder: Path) -> Iterator[bool]:
    """Whether no other process is working on this survey; a second one then starts at the other end.

    Raises:
        DataError: The folder can't be written.
    """
    try:
        descriptor = os.open(folder / WORKING_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"{folder}: can't be written ({error.strerror}); choose another with --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_first = True
        except OSError:
            is_first = False
        yield is_first
    finally:
        os.close(descriptor)


def usable_cores() -> int:
    """Cores that this process may use."""
    with suppress(AttributeError):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _use_one_core() -> None:
    """Keep this thread's share of the network to one core: the others have photos of their own."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
