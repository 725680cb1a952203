"""A survey: what is known of a folder of photos, in one SQLite file that stands on its own.

    survey/
      survey.sqlite      photos with their predictions, what people decided, and which model said so
      thumbnails/        small JPEGs, by the hash of a photo's path
      explain/           class activation overlays, likewise
      parts/             what the shards of a divided survey have done so far

Listing, sorting and writing read columns only: this module starts without numpy and without a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from ahekit.errors import DataError
from ahekit.protocols import PhotoRow, PhotoState, SurveyFacts

if TYPE_CHECKING:
    from ahekit.prediction.deciding import Acceptance, Decider, Rule

SCHEMA_VERSION = 1
FILE_NAME = "survey.sqlite"
WORKING_FILE = ".working"
"""Locked by the process that works on the survey."""
ASIDE = "survey-before-"
"""Begins the names of surveys that were laid aside for a fresh one."""
DEFAULT_FOLDER = Path("survey")
BUSY_SECONDS = 60.0
"""That a process waits for another one that is writing; a transaction takes milliseconds."""
BLOCK = 2_000
"""Photos whose decisions are made again at a time: bounds the memory whatever the survey's size."""

DIGITS = 6
"""After the point, of confidences and scores."""

Only = Literal["all", "sure", "reviewed"]

# SQLite keeps the comments: they explain the columns to whoever opens the file, and are the reference's text.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (
    key TEXT PRIMARY KEY, -- schema_version, model, model_notes, settings, roots, made_at
    value TEXT NOT NULL -- text, or JSON
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS photos (
    id INTEGER PRIMARY KEY, -- stays when a photo is looked at again
    path BLOB UNIQUE NOT NULL, -- relative to what was given, in the file system's bytes
    file BLOB NOT NULL, -- absolute, in the file system's bytes
    size INTEGER, -- bytes
    mtime_ns INTEGER, -- last change, nanoseconds since 1970
    hash TEXT, -- of the file's content, hexadecimal
    width INTEGER, -- pixels, upright, at full size
    height INTEGER, -- likewise
    state TEXT NOT NULL, -- sure, review, unknown or unreadable
    reason TEXT NOT NULL DEFAULT '', -- why it is not sure (empty where it is)
    class TEXT, -- as predicted
    confidence REAL, -- probability that class is right, calibrated
    runner_up TEXT, -- the second class
    runner_up_confidence REAL, -- likewise
    unknown_score REAL, -- larger: less like the classes
    logits BLOB, -- float32, one for each class of the model
    embedding BLOB, -- float16
    predicted_at TEXT, -- when the file was opened, ISO 8601 in UTC
    decoder TEXT -- what the file was decoded with
);
CREATE INDEX IF NOT EXISTS photos_by_file ON photos (file);
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY, -- grows with time: of a path's decisions the newest counts
    path BLOB NOT NULL, -- as in photos
    class TEXT NOT NULL, -- what a person said the photo shows
    decided_at TEXT NOT NULL -- ISO 8601 in UTC
);
CREATE INDEX IF NOT EXISTS decisions_by_path ON decisions (path, id);
"""
COLUMNS = (
    *("path", "file", "size", "mtime_ns", "hash", "width", "height", "state", "reason", "class", "confidence"),
    *("runner_up", "runner_up_confidence", "unknown_score", "logits", "embedding", "predicted_at", "decoder"),
)
INSERT = (
    f"INSERT INTO photos ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    # In place: a photo that is looked at again keeps its id.
    f"ON CONFLICT (path) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS[1:])}"
)
# The newest decision of a path counts; ids grow with time.
_ROWS = """
SELECT photos.path, file, state, photos.class, confidence, runner_up, runner_up_confidence, reason,
       decisions.class AS decision, decided_at
FROM photos LEFT JOIN decisions
    ON decisions.id = (SELECT max(id) FROM decisions AS own WHERE own.path = photos.path)
{where} ORDER BY photos.path
"""
_EMBEDDINGS = """
SELECT photos.path, file, decisions.class, embedding
FROM photos LEFT JOIN decisions
    ON decisions.id = (SELECT max(id) FROM decisions AS own WHERE own.path = photos.path)
WHERE embedding IS NOT NULL ORDER BY photos.path
"""
_WHERE: dict[Only, str] = {
    "all": "",
    "sure": "WHERE state = 'sure' OR decisions.class IS NOT NULL",
    "reviewed": "WHERE decisions.class IS NOT NULL",
}


@dataclass(frozen=True)
class PhotoRecord:
    """All that a survey keeps of one photo.

    Attributes:
        path: Relative to what was given, as in `PhotoRow`.
        file: Absolute.
        hash: Hexadecimal digest of the file's content; None where it couldn't be read.
        width: In pixels, upright, at full size; `height` likewise.
        unknown_score: Larger: less like the classes.
        logits: float32 `(C,)`, as bytes; None where the photo is unreadable.
        embedding: float16 `(D,)`, as bytes.
        predicted_at: When the file was opened, ISO 8601 in UTC.
        decoder: What the file was decoded with: an unreadable one is tried again with another.
    """

    path: str
    file: Path
    size: int | None = None
    mtime_ns: int | None = None
    hash: str | None = None
    width: int | None = None
    height: int | None = None
    state: PhotoState = "unreadable"
    reason: str = ""
    class_name: str | None = None
    confidence: float | None = None
    runner_up: str | None = None
    runner_up_confidence: float | None = None
    unknown_score: float | None = None
    logits: bytes | None = None
    embedding: bytes | None = None
    predicted_at: str = ""
    decoder: str = ""


@dataclass(frozen=True)
class Counts:
    """How many photos are in which state.

    Attributes:
        sure: By class, every class of the model; `review` likewise.
        reviewed: Photos that a person decided on, whatever their state.
    """

    sure: dict[str, int]
    review: dict[str, int]
    unknown: int
    unreadable: int
    reviewed: int

    @property
    def total(self) -> int:
        """Photos in the survey."""
        return sum(self.sure.values()) + sum(self.review.values()) + self.unknown + self.unreadable


@dataclass(frozen=True)
class SurveyModel:
    """Which model a survey is made with; the survey stands on its own with it.

    Attributes:
        name: Name and version as people read them.
        fingerprint: Of the model's files, hexadecimal: one survey holds the predictions of one model.
        notes: The model's own description (`model.yaml`), as text.
        place: What the model was asked for by: a folder, a file, a run; empty for the packaged one.
    """

    name: str
    fingerprint: str
    class_names: tuple[str, ...]
    notes: str = ""
    place: str = ""


@dataclass(frozen=True)
class Settings:
    """By what the stored predictions were decided on.

    Attributes:
        rule: What the user asked for, as plain values.
        sentences: What was accepted, and what that stands on, in words.
    """

    rule: Mapping[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


class Survey:
    """A survey's folder, and its open file. Not for several threads at once."""

    def __init__(self, folder: Path, file: Path, database: sqlite3.Connection) -> None:
        """Use `open` or `create`."""
        self.folder = folder
        self.file = file
        self.database = database

    @classmethod
    def open(cls, folder: Path, *, file: Path | None = None) -> Self:
        """An existing survey; one in a read-only folder can be read.

        Args:
            file: Another SQLite file than the folder's own: a part.

        Raises:
            DataError: There is none, it is damaged, or it was made by a newer version.
        """
        path = file or folder / FILE_NAME
        if not path.is_file():
            raise DataError(
                f"{folder}: no survey (no {FILE_NAME} in it); `ahekit predict PHOTOS --out {folder}` makes one"
            )
        survey = cls(folder, path, _connect(path))
        with survey._closed_on_error(), survey.telling():
            version = survey.meta("schema_version")
            if version is None:
                raise DataError(
                    f"{path}: its making was interrupted before the first photo; run the same predict again"
                )
            if int(version) > SCHEMA_VERSION:
                raise DataError(f"{path}: made by a newer version of ahekit; update this one")
        return survey

    @classmethod
    def create(
        cls,
        folder: Path,
        model: SurveyModel,
        *,
        settings: Settings | None = None,
        file: Path | None = None,
        is_shared: bool = True,
        is_spread: bool = False,
    ) -> Self:
        """A new survey, or the one that is there when it is of the same model.

        Args:
            is_shared: Other processes may open the file, too.
            is_spread: So may processes on other machines, which share no memory.

        Raises:
            DataError: The folder holds other things, can't be written, or a survey of another model.
        """
        path = file or folder / FILE_NAME
        try:
            if file is None:
                check_home(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path.parent}: can't be written ({error.strerror}); choose another with --out") from error
        survey = cls(folder, path, _connect(path, create=True))
        with survey._closed_on_error(), survey.telling():
            survey._prepare(model, settings or Settings(), is_shared=is_shared, is_spread=is_spread)
            survey.check_model(model)
        return survey

    def _prepare(self, model: SurveyModel, settings: Settings, *, is_shared: bool, is_spread: bool) -> None:
        """Make the tables, once: of two processes that start together, one finds what the other made."""
        if not is_shared:
            self.database.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Persistent: whoever opens the file later gets it too. A file system that can't keep it (a network's) stays
        # with SQLite's own journal, which is as safe and lets readers wait.
        try:
            self.database.execute(f"PRAGMA journal_mode = {'DELETE' if is_spread else 'WAL'}")
        except sqlite3.OperationalError:
            if self.meta("schema_version") is None:
                raise  # else somebody has it open in the other mode, and it stays in that
        with self.transaction():
            for statement in _SCHEMA.split(";"):
                self.database.execute(statement)
            if self.meta("schema_version") is not None:
                return
            self.set_meta(
                schema_version=str(SCHEMA_VERSION),
                model=json.dumps({**asdict(model), "notes": ""}),
                model_notes=model.notes,
                roots="[]",
                made_at=now(),
            )
            self.store_settings(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was written stays written."""
        self.database.close()

    # What the survey is of.

    @property
    def model(self) -> SurveyModel:
        """The model that made the predictions."""
        values = json.loads(self.meta("model") or "{}")
        values["class_names"] = tuple(values["class_names"])
        return SurveyModel(**{**values, "notes": self.meta("model_notes") or ""})

    @property
    def settings(self) -> Settings:
        """By what they were decided on."""
        values = json.loads(self.meta("settings") or "{}")
        return Settings(values.get("rule", {}), tuple(values.get("sentences", ())))

    @property
    def is_empty(self) -> bool:
        """Whether it holds no photo."""
        with self.telling():
            return self.database.execute("SELECT 1 FROM photos LIMIT 1").fetchone() is None

    def check_model(self, model: SurveyModel) -> None:
        """Make sure that the survey is of this model.

        Raises:
            DataError: It is of another one.
        """
        self.check_fingerprint(model.fingerprint, model.name)

    def check_fingerprint(self, fingerprint: str, name: str) -> None:
        """The same by a model's fingerprint and name."""
        own = self.model
        if own.fingerprint != fingerprint:
            raise DataError(
                f"{self.folder}: a survey of another model ({own.name}, {own.fingerprint[:12]}; asked for is "
                f"{name}, {fingerprint[:12]}); choose another folder with --out, or start over with --fresh"
            )

    def facts(self) -> SurveyFacts:
        """What writers may say of the survey."""
        with self.telling():
            model = self.model
            (last,) = self.database.execute("SELECT max(predicted_at) FROM photos").fetchone()
        return SurveyFacts(self.folder, model.class_names, model.name, model.fingerprint, last or "")

    def meta(self, key: str) -> str | None:
        """A value of the table of single values; None where there is none."""
        try:
            row = self.database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise
        return None if row is None else str(row[0])

    def set_meta(self, **values: str) -> None:
        """Set single values."""
        self.database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def store_settings(self, settings: Settings) -> None:
        """Write by what the photos are decided on."""
        self.set_meta(settings=json.dumps(asdict(settings)))

    # What it says of the photos.

    def rows(self, only: Only = "all") -> Iterator[PhotoRow]:
        """The photos, ordered by the bytes of their paths, as a stream.

        Args:
            only: "sure": those that are accepted or that a person decided on; "reviewed": the latter alone.
        """
        with self.telling():
            for row in self.database.execute(_ROWS.format(where=_WHERE[only])):
                path, file, state, class_name, confidence, runner_up, runner_up_confidence, reason, decision, at = row
                yield PhotoRow(
                    path=os.fsdecode(path),
                    file=Path(os.fsdecode(file)),
                    state=state,
                    class_name=class_name,
                    confidence=confidence,
                    runner_up=runner_up,
                    runner_up_confidence=runner_up_confidence,
                    reason=reason,
                    decision=decision,
                    decided_at=at,
                )

    def embeddings(self) -> Iterator[tuple[str, Path, str | None, bytes]]:
        """Of each photo that could be read, ordered as `rows`: path, file, decision (None: none), embedding `(D,)`."""
        with self.telling():
            for path, file, decision, embedding in self.database.execute(_EMBEDDINGS):
                yield os.fsdecode(path), Path(os.fsdecode(file)), decision, embedding

    def counts(self) -> Counts:
        """How many photos are in which state, by class."""
        with self.telling():
            names = self.model.class_names
            numbers = {
                (state, name): count
                for state, name, count in self.database.execute(
                    "SELECT state, class, count(*) FROM photos GROUP BY state, class"
                )
            }
            (reviewed,) = self.database.execute(
                "SELECT count(DISTINCT decisions.path) FROM decisions JOIN photos ON photos.path = decisions.path"
            ).fetchone()
        return Counts(
            sure={name: numbers.get(("sure", name), 0) for name in names},
            review={name: numbers.get(("review", name), 0) for name in names},
            unknown=sum(count for (state, _), count in numbers.items() if state == "unknown"),
            unreadable=sum(count for (state, _), count in numbers.items() if state == "unreadable"),
            reviewed=reviewed,
        )

    def thumbnail_path(self, path: str) -> Path:
        """Where a photo's thumbnail is, by its `PhotoRow.path`; unreadable photos have none."""
        return self.folder / "thumbnails" / file_name_of(path)

    def explanation_path(self, path: str) -> Path:
        """Where a photo's class activation overlay is, where one was asked for."""
        return self.folder / "explain" / file_name_of(path)

    # What is written.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block is written, or nothing.

        Raises:
            DataError: The disk is full, the folder can't be written …; nothing of the block is kept.
        """
        with self.telling():
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back by itself (a full disk).
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise

    def record(self, records: Iterable[PhotoRecord]) -> None:
        """Write photos in one transaction; one that is there is replaced.

        Raises:
            DataError: They can't be written.
        """
        with self.transaction():
            self.database.executemany(INSERT, (_values(record) for record in records))

    def add_decision(self, path: str, class_name: str, *, decided_at: str = "") -> None:
        """Write what a person said a photo shows.

        Args:
            class_name: Empty: none of the classes.
            decided_at: ISO 8601 in UTC; now, where it isn't given.

        Raises:
            DataError: There is no such photo, or it can't be written.
        """
        with self.transaction():
            blob = os.fsencode(path)
            if self.database.execute("SELECT 1 FROM photos WHERE path = ?", (blob,)).fetchone() is None:
                raise DataError(f"{self.folder}: no photo {path} in it")
            self.database.execute(
                "INSERT INTO decisions (path, class, decided_at) VALUES (?, ?, ?)",
                (blob, class_name, decided_at or now()),
            )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What SQLite fails with inside becomes a line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(f"{self.file}: {_in_words(error)}") from error

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def redecide(survey: Survey, decider: Decider, rule: Rule) -> Acceptance:
    """Decide on all photos again from what is stored of them, in one transaction; none is opened.

    Raises:
        AhekitError: The rule asks for what the model's validation can't carry, or the survey can't be written.
    """
    acceptance = decider.accept(rule)
    names = survey.model.class_names
    with survey.transaction():
        last = 0
        while True:
            block = survey.database.execute(
                "SELECT id, logits, embedding FROM photos WHERE id > ? AND logits IS NOT NULL ORDER BY id LIMIT ?",
                (last, BLOCK),
            ).fetchall()
            if not block:
                break
            last = block[-1][0]
            decided = decide(decider, acceptance, names, [row[1] for row in block], [row[2] for row in block])
            survey.database.executemany(
                "UPDATE photos SET state = ?, reason = ?, class = ?, confidence = ?, runner_up = ?,"
                " runner_up_confidence = ?, unknown_score = ? WHERE id = ?",
                ((*vars(each).values(), row[0]) for each, row in zip(decided, block, strict=True)),
            )
        settings = Settings(asdict(rule), tuple(acceptance.sentences))
        survey.store_settings(settings)
    return acceptance


@dataclass(frozen=True)
class Decided:
    """What was decided on a photo: the columns of that name."""

    state: PhotoState
    reason: str
    class_name: str
    confidence: float
    runner_up: str
    runner_up_confidence: float
    unknown_score: float

    @property
    def columns(self) -> dict[str, Any]:
        """By the names of `PhotoRecord`."""
        return vars(self)


def decide(
    decider: Decider, acceptance: Acceptance, names: Sequence[str], logits: Sequence[bytes], embeddings: Sequence[bytes]
) -> list[Decided]:
    """What is decided on photos, from their logits and embeddings as they are stored."""
    import numpy as np

    decisions = decider.decide(
        np.frombuffer(b"".join(logits), np.float32).reshape(len(logits), -1),
        np.frombuffer(b"".join(embeddings), np.float16).reshape(len(embeddings), -1),
        acceptance,
    )
    return [
        Decided(
            state=str(decisions.state[place]),  # type: ignore[arg-type]  # one of the words
            reason=str(decisions.reason[place]),
            class_name=names[int(decisions.class_index[place])],
            # More digits are rounding of the processor's, which differs with how many photos it is given at a time.
            confidence=round(float(decisions.confidence[place]), DIGITS),
            runner_up=names[int(decisions.runner_up_index[place])],
            runner_up_confidence=round(float(decisions.runner_up_confidence[place]), DIGITS),
            unknown_score=round(float(decisions.unknown_score[place]), DIGITS),
        )
        for place in range(len(logits))
    ]


def file_name_of(path: str) -> str:
    """A name for a file about a photo, `ab/cdef….jpg`: whatever the photo is called, and few to a folder."""
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    return f"{name[:2]}/{name[2:]}.jpg"


def check_home(folder: Path) -> None:
    """Make sure that a folder is a survey, empty, or not there yet: a survey never lies among other people's files.

    Raises:
        DataError: It holds something else, or is no folder.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder; choose another with --out")
    names = os.listdir(folder)
    if names and not any(name in (FILE_NAME, WORKING_FILE) or name.startswith(ASIDE) for name in names):
        raise DataError(f"{folder}: holds other files and no survey; choose a new folder with --out")


def now() -> str:
    """The time, ISO 8601 in UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    place = quote(os.fsencode(path.absolute()))
    modes = ["mode=rwc" if create else "mode=rw", *([] if create else ["mode=ro", "mode=ro&immutable=1"])]
    for mode in modes:
        try:
            database = sqlite3.connect(f"file:{place}?{mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            failure = error
            continue
        try:
            database.execute("PRAGMA synchronous = NORMAL")
            # The first look into the file: a folder that can't be written shows only now.
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            failure = error
            database.close()
            continue
        return database
    raise DataError(f"{path}: {_in_words(failure)}") from failure


def _values(record: PhotoRecord) -> tuple[Any, ...]:
    return (
        os.fsencode(record.path),
        os.fsencode(record.file),
        *(record.size, record.mtime_ns, record.hash, record.width, record.height),
        *(record.state, record.reason, record.class_name, record.confidence),
        *(record.runner_up, record.runner_up_confidence, record.unknown_score),
        *(record.logits, record.embedding, record.predicted_at, record.decoder),
    )


def _in_words(error: sqlite3.Error) -> str:
    """What SQLite says, and what can be done about it."""
    text = str(error)
    for words, advice in {
        "disk is full": "the disk is full; make room and run the same command again, what is done is kept",
        "readonly": "can't be written; choose another folder with --out",
        "unable to open": "can't be opened or written; check its folder's rights, or choose another with --out",
        "locked": "another process has been writing to it for a minute; try again when that is done",
        "malformed": "damaged; keep a copy and predict again into a new folder (--out)",
        "not a database": "no survey, or damaged; keep a copy and predict again into a new folder (--out)",
        "disk I/O": "the disk fails (input/output error); what was written before is kept",
    }.items():
        if words in text:
            return advice
    return f"SQLite says: {text}"
