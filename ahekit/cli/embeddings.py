"""Where the embeddings come from that `ahekit match` compares: a survey, or a network that looks at pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ahekit import console
from ahekit.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ahekit.prediction.matching import Gallery
    from ahekit.prediction.predictor import Predictor
    from ahekit.prediction.survey import SurveyModel

Identified = Literal["folder", "decision"]


class Sources:
    """Where embeddings come from: a survey holds its own; the network is opened for all others, when first needed."""

    def __init__(
        self, model: str | None, runs: Path | None, device: str | None, *, by: Identified | None, group_by: str
    ) -> None:
        self._model = model
        self._runs = runs
        self._device = device
        self._by = by
        self._group_by = group_by
        self._survey: SurveyModel | None = None
        self._survey_folder: Path | None = None
        self._predictor: Predictor | None = None

    def take(self, *folders: Path) -> None:
        """Look which of the folders are surveys, before anything slow.

        Raises:
            DataError: Two are of different models, or one is of another than the one that was named.
            UsageError: `--by` is asked for, and none is a survey.
        """
        from ahekit.prediction.matching import is_survey
        from ahekit.prediction.survey import Survey

        for folder in filter(is_survey, folders):
            with Survey.open(folder) as survey:
                model = survey.model
            if self._survey is not None and model.fingerprint != self._survey.fingerprint:
                raise DataError(
                    f"{folder}: a survey of {model.name}, whose embeddings can't be compared with those of "
                    f"{self._survey_folder}, which are {self._survey.name}'s; predict one of them again with the "
                    "other's model"
                )
            self._survey = model
            self._survey_folder = folder
        if self._by is not None and self._survey is None:
            raise UsageError("--by tells the identities of a survey, and none is named; a folder tells them by its own")
        if self._survey is not None and self._model is not None:
            self.predictor()

    @property
    def name(self) -> str:
        """Of the model whose embeddings they are."""
        return self._survey.name if self._survey is not None else self.predictor().name

    def predictor(self) -> Predictor:
        """The network, opened once.

        Raises:
            DataError: The survey is of another model.
        """
        from ahekit.opening import open_predictor
        from ahekit.run import runs_root

        if self._predictor is None:
            model = self._model or (self._survey.place if self._survey is not None else None) or None
            self._predictor = open_predictor(
                model, root=runs_root(self._runs), device=self._device or "auto", tell=console.say
            )
            if self._survey is not None and self._predictor.fingerprint != self._survey.fingerprint:
                raise DataError(
                    f"{self._survey_folder}: a survey of {self._survey.name} ({self._survey.fingerprint[:12]}), whose "
                    f"embeddings can't be compared with those of {self._predictor.name} "
                    f"({self._predictor.fingerprint[:12]}); name its model with --model"
                )
        return self._predictor

    def gallery(self, folder: Path) -> Gallery:
        """A folder of identities, or a survey, as a gallery."""
        from ahekit.prediction.matching import is_survey, open_gallery, survey_gallery
        from ahekit.prediction.survey import Survey

        if is_survey(folder):
            with Survey.open(folder) as survey:
                return survey_gallery(survey, by=self._by or "folder", group_by=self._group_by)
        predictor = self.predictor()
        with console.progress("looking", None) as advance:
            gallery = open_gallery(folder, predictor, group_by=self._group_by, advance=advance)
        for line in gallery.refused:
            console.warn(f"left out: {line}")
        return gallery

    def probes(self, survey: Path | None, pictures: list[str]) -> tuple[list[Path], NDArray[np.floating]]:
        """The pictures to ask about and their embeddings `(N, D)`: a survey's, or those named.

        Raises:
            DataError: None of them can be read.
        """
        from ahekit.prediction.matching import embed, survey_gallery
        from ahekit.prediction.photos import find_photos
        from ahekit.prediction.survey import Survey

        if survey is not None:
            with Survey.open(survey) as opened:
                found = survey_gallery(opened, group_by="none")
            return list(found.files), found.embeddings
        files = [Path(file) for file in find_photos(pictures).files]
        vectors, kept, refused = embed(files, self.predictor())
        for line in refused:
            console.warn(line)
        if not kept:
            raise DataError("none of the pictures can be read")
        return [files[place] for place in kept], vectors
