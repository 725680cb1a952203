"""A teacher: a trained network whose answers a run learns from beside the labels (knowledge distillation).

Student and teacher see the very same view of an image, and the same mix of two; the teacher's answer to a mix is the
mix of its answers. Views are fixed ones that come again, so that the teacher is asked about each once, whatever the
number of epochs; its logits are kept as the outputs of a frozen prefix are, and shared by runs that need the same.

Sources: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015),
https://arxiv.org/abs/1503.02531; L. Beyer, X. Zhai, A. Royer, L. Markeeva, R. Anil, A. Kolesnikov, Knowledge
distillation: A good teacher is patient and consistent (2021), https://arxiv.org/abs/2106.05237. There each view is
drawn anew and the teacher asked each time, also about mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ahekit.data.dataset import Dataset
from ahekit.data.ids import short_name
from ahekit.data.random import sample_keys
from ahekit.data.split import Splits
from ahekit.data.views import view_names
from ahekit.errors import UsageError
from ahekit.model_folder import ModelFolder, is_model_folder, read_embeddings, read_model_folder
from ahekit.notes import TeacherNote
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.training.prefix import PrefixPlan
from ahekit.training.run_weights import folder_network, run_network
from ahekit.wording import counted

Source = Run | ModelFolder

_INTERPOLATION = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "bicubic"}


class Teacher(nn.Module):
    """A trained network that takes another one's views.

    Views `(B, 3, S, S)` as the student gets them become the teacher's pixels (its size, its normalization), and its
    logits `(B, C)` stand in the order of the student's classes.
    """

    offset: Tensor
    scale: Tensor
    order: Tensor

    def __init__(self, built: BuiltModel, student: Preprocessing, order: Sequence[int]) -> None:
        """A teacher.

        Args:
            order: Place of each of the student's classes among the teacher's.
        """
        super().__init__()
        own = built.preprocessing
        self.module = built.module
        self.sizes = tuple(dict.fromkeys((own.sharpest, own.size)))
        self.mode = _INTERPOLATION[own.interpolation]
        # Both normalizations in one step: the student's taken back, the teacher's made.
        mean, std, student_mean, student_std = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (own.mean, own.std, student.mean, student.std)
        )
        self.register_buffer("scale", student_std / std)
        self.register_buffer("offset", (student_mean - mean) / std)
        self.register_buffer("order", torch.tensor(order))

    def forward(self, views: Tensor) -> Tensor:
        """The logits of views."""
        images = views * self.scale + self.offset
        for size in self.sizes:
            if images.shape[2] != size:
                # As the decoder does it: averaged where it gets smaller.
                smooth = self.mode != "nearest"
                images = F.interpolate(images, size=(size, size), mode=self.mode, antialias=smooth)
        logits: Tensor = self.module(images)
        return logits[:, self.order]

    def extra_repr(self) -> str:
        """What its outputs depend on beside its tensors."""
        return f"sizes={self.sizes}, mode={self.mode}"


def find_teacher(spec: RunSpec, dataset: Dataset, splits: Splits) -> Source | None:
    """The run or model folder that the spec names as a teacher, checked; None where it names none.

    Raises:
        UsageError: It has other classes, or may have been trained on images that this run is validated or tested on.
        AhekitError: It is none, or isn't whole.
    """
    if spec.distill.teacher is None:
        return None
    path = Path(spec.distill.teacher)
    source: Source = read_model_folder(path) if is_model_folder(path) else Run.open(path)
    _order(source, dataset.class_names)
    _check_images(source, dataset, splits)
    return source


def open_teacher(source: Source, dataset: Dataset) -> Teacher:
    """A teacher's network, in eval mode on the processor.

    Raises:
        AhekitError: Its weights can't be read.
    """
    # A network is built with random weights before it gets its own: the student's random numbers stay where they are.
    with torch.random.fork_rng(devices=[]):
        built = folder_network(source) if isinstance(source, ModelFolder) else run_network(source)[0]
    return Teacher(built, dataset.preprocessing, _order(source, dataset.class_names)).eval()


def plan_answers(spec: RunSpec, splits: Splits, num_classes: int) -> PrefixPlan:
    """What is kept of a teacher's answers: its logits for each training image in each view."""
    views = view_names(spec.distill.views, spec.augment)
    return PrefixPlan(
        stage="a teacher's answers",
        shape=(num_classes,),
        dtype=torch.float32,
        views=views,
        measured=(),
        passes=len(splits.train) * len(views),
    )


def teacher_note(source: Source) -> TeacherNote:
    """What a run remembers of its teacher."""
    if isinstance(source, ModelFolder):
        return TeacherNote(name=source.name, model=source.notes.component.name, fingerprint=source.fingerprint)
    return TeacherNote(name=source.name, model=source.spec.model.name)


def _order(source: Source, class_names: Sequence[str]) -> list[int]:
    own = list(source.class_names if isinstance(source, ModelFolder) else source.manifest.class_names)
    if set(own) != set(class_names):
        missing = sorted(set(class_names) - set(own))
        others = sorted(set(own) - set(class_names))
        words = [f"it has no {', '.join(missing)}"] if missing else []
        words += [f"this run has no {', '.join(others)}"] if others else []
        raise UsageError(
            f"distill.teacher: {source.name} tells other classes apart ({'; '.join(words)}); name one of the same"
        )
    return [own.index(name) for name in class_names]


def _check_images(source: Source, dataset: Dataset, splits: Splits) -> None:
    """See that a teacher wasn't trained on what this run is measured on."""
    name = source.name
    same_images, keys = _trained_on(source, dataset)
    if keys is None:
        raise UsageError(
            f"distill.teacher: {name} doesn't say which images it was trained on, so these may be among this run's "
            "validation and test images; export it again, or name the run that it comes from"
        )
    for words, indices in (("validation", splits.val), ("test", splits.test)):
        ids = [dataset.ids[index] for index in indices.tolist()]
        own = sample_keys(ids if same_images else map(short_name, ids)).tolist()
        shared = [sample for sample, key in zip(ids, own, strict=True) if key in keys]
        if shared:
            told = "" if same_images else " by class and file name, which other editions of a dataset share"
            raise UsageError(
                f"distill.teacher: {name} was trained on {counted(len(shared), 'image')} of this run's {words}"
                f"{told} ({shared[0]} first), so what is measured there would be what it remembers; train the teacher "
                "with this run's --seed and data settings"
            )


def _trained_on(source: Source, dataset: Dataset) -> tuple[bool, frozenset[int] | None]:
    """Whether a teacher's dataset is the same, and keys of its training images: of ids then, else of short names."""
    if isinstance(source, ModelFolder):
        is_same = source.notes.provenance.fingerprint == dataset.fingerprint
        keys = read_embeddings(source).get("ids" if is_same else "names")
        return is_same, None if keys is None else frozenset(keys.tolist())
    manifest = source.manifest
    is_same = manifest.data.fingerprint == dataset.fingerprint
    ids = manifest.splits.train
    if not ids:
        return is_same, None
    return is_same, frozenset(sample_keys(ids if is_same else map(short_name, ids)).tolist())
