"""Run specs: everything that decides what a run does, validated before anything heavy is imported.

Precedence: defaults < recipe (`strong`, where none is named) < `--spec FILE` < flags and `--set a.b=v`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ahekit.errors import UnknownNameError, UsageError
from ahekit.preprocessing import Fit, Interpolation
from ahekit.validation import merge, parse_assignments, read_yaml, validate

DEFAULT_MODEL = "cnn5"
FINETUNED_MODEL = "resnet18"

# Nothing has so many; a mistyped exponent shall not fill the memory or run for years.
MOST_IMAGES = 2**20  # of a batch
MOST_EPOCHS = 10**6

Share = Annotated[float, Field(gt=0, le=1)]


def _as_side(value: float) -> float:
    if 0 < value < 1:
        return value
    if value != int(value) or not 4 <= value <= 1024:
        raise ValueError("must be pixels, from 4 to 1024, or a share of the full size, below 1")
    return int(value)


Side = Annotated[float, AfterValidator(_as_side)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Component(_Strict):
    """A plugin by name, with its parameters (validated by the plugin's own `Params`)."""

    name: str = Field(description="registered plugin name", min_length=1)
    params: dict[str, Any] = Field(default_factory=dict, description="the plugin's parameters")


def check_group_by(rule: str) -> str:
    """A rule of `data.group_by`, as it is.

    Raises:
        ValueError: It is none; the message says what there is.
    """
    if re.fullmatch(r"auto|none|flickr|date|folder(:[1-9]\d?)?", rule):
        return rule
    try:
        groups = re.compile(rule).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no pattern ({error})") from error
    if not groups:
        raise ValueError(
            "neither auto, none, flickr, date, folder nor folder:N, and as a pattern on the sample id it has no group "
            "that tells series apart; write one, as in '/([^/_]+)_[^/]*$'"
        )
    return rule


class DataSpec(_Strict):
    """Which images, and how they become the model's pixels."""

    source: str | None = Field(
        None,
        description="dataset: an installed one by name, a folder of class folders, or a .zip or .tar archive of one; "
        "none: $AHEKIT_DATA, else ahe64 if installed, else the embedded sample",
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="side length of the images, pixels; none: the model's own"
    )
    fit: Fit | None = Field(None, description="how an image becomes square; none: the model's own")
    interpolation: Interpolation | None = Field(None, description="resampling; none: the model's own")
    detail: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="pixels a side that a larger image is reduced to before it is brought to image_size, so that sharp "
        "photos look to the network as its coarser training images did; none: not",
    )
    val_fraction: float = Field(0.08, gt=0, lt=0.9, description="share of the training images cut as validation")
    test_fraction: float = Field(0.15, gt=0, lt=0.9, description="share cut as test when the dataset has none")
    train_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of each class's training images that is trained on, at least one; a smaller share is a part "
        "of a larger one of the same seed, validation and test stay whole",
    )
    near_copy_threshold: float = Field(
        0.98, gt=0, le=1, description="thumbnail correlation from which two images are near-copies"
    )
    group_by: str = Field(
        "auto",
        description="what tells the series of an image, which stays on one side of a cut: auto: flickr where file "
        "names carry Flickr's numbers; flickr: numbers within 100,000 of each other; folder or folder:N: the first N "
        "folders below the class; date: the day of capture; a pattern on the sample id with a group; none",
    )

    @field_validator("group_by")
    @classmethod
    def _known_rule(cls, rule: str) -> str:
        return check_group_by(rule)


class AugmentSpec(_Strict):
    """Random changes of each training image, drawn per (seed, epoch, sample id)."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring left-right")
    alternating_flip: bool = Field(
        False,
        description="show each image and its mirror image in turn, epoch by epoch; flip is then the probability that "
        "the mirror image comes first",
    )
    crop_scale: float = Field(0.25, gt=0, le=1, description="smallest area share of a random resized crop; 1: off")
    crop_ratio: float = Field(4 / 3, ge=1, le=100, description="largest aspect ratio of a crop (and its inverse)")
    rotation: float = Field(6.0, ge=0, le=180, description="largest rotation either way, degrees")
    brightness: float = Field(0.4, ge=0, lt=1, description="largest relative change of brightness")
    contrast: float = Field(0.4, ge=0, lt=1, description="largest relative change of contrast")
    saturation: float = Field(0.4, ge=0, lt=1, description="largest relative change of saturation")
    erase: float = Field(0.25, ge=0, le=1, description="probability of erasing a rectangle")
    erase_area: float = Field(0.25, gt=0, lt=1, description="largest area share of the erased rectangle")

    @property
    def mirrors(self) -> bool:
        """Whether mirror images are shown at all."""
        return self.flip > 0 or self.alternating_flip


class ProgressiveSpec(_Strict):
    """Smaller training images, in the first epochs or in all; validation and test are always measured at the full size.

    A view is drawn as ever and then rendered smaller, so a step takes less time. The last epoch has the full size,
    unless the shares are 1 together: a random crop magnifies what it shows, and a network that was trained on smaller
    images meets whole ones at about the scale that it knows (Fixing the train-test resolution discrepancy,
    https://arxiv.org/abs/1906.06423; without its fine-tuning).

    Where the network can't take images of a size, or what frozen stages make of them is kept, sizes in pixels are
    refused; shares of the full size, as the recipes have them, give way to it, and a line says so.

    Progressive resizing: DAWNBench's fastest entries of 2018, https://arxiv.org/abs/1806.01427, and EfficientNetV2,
    https://arxiv.org/abs/2104.00298, section 4 (without its growing augmentation).
    """

    sizes: tuple[Side, ...] = Field(
        (),
        max_length=20,
        description="side lengths of the training images before they have the full size, in pixels or as shares of the "
        "full size, each larger than the one before; none: the full size from the first epoch on",
    )
    shares: tuple[Share, ...] = Field(
        (),
        max_length=20,
        description="share of the epochs at each of the sizes; what they leave of 1 has the full size; none: equal "
        "shares, one of them for the full size",
    )

    @field_validator("sizes")
    @classmethod
    def _growing(cls, sizes: tuple[float, ...]) -> tuple[float, ...]:
        if len({size < 1 for size in sizes}) > 1:
            raise ValueError("must all be pixels, or all be shares of the full size")
        if any(later <= earlier for earlier, later in pairwise(sizes)):
            raise ValueError("each size must be larger than the one before")
        return sizes

    @field_validator("shares")
    @classmethod
    def _one_for_each_size(cls, shares: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        sizes = info.data.get("sizes")
        if not shares or sizes is None:
            return shares
        if len(shares) != len(sizes):
            raise ValueError(f"must be as many as the sizes, of which there are {len(sizes)}")
        if sum(shares) > 1 and not math.isclose(sum(shares), 1):
            raise ValueError(f"must be 1 together at most, and are {sum(shares):g}")
        return shares

    def in_pixels(self, full: int) -> ProgressiveSpec:
        """The same with every size in pixels, where `full` is the full size."""
        return self.model_copy(
            update={"sizes": tuple(size if size >= 1 else max(4, round(size * full)) for size in self.sizes)}
        )

    def last_epochs(self, epochs: int) -> tuple[int, ...]:
        """The last epoch, counted from 1, of each of the sizes; of one that gets no epoch, that of the size before."""
        shares = self.shares or (1 / (len(self.sizes) + 1),) * len(self.sizes)
        last = epochs if math.isclose(sum(shares), 1) else epochs - 1
        return tuple(min(round(end * epochs), last) for end in accumulate(shares))

    def size_at(self, epoch: int, *, epochs: int) -> int | None:
        """Side of the training images in an epoch, counted from 1; None where it is the full size.

        The sizes have to be in pixels.
        """
        ends = zip(self.sizes, self.last_epochs(epochs), strict=True)
        return next((int(size) for size, last in ends if epoch <= last), None)


class MixSpec(_Strict):
    """Mixup and CutMix: convex mixes of two images and their targets, partners drawn over the window.

    mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412. CutMix: Regularization Strategy to
    Train Strong Classifiers with Localizable Features, https://arxiv.org/abs/1905.04899.
    """

    probability: float = Field(0.8, ge=0, le=1, description="probability that an image is mixed with another")
    cutmix_share: float = Field(0.5, ge=0, le=1, description="share of the mixed images that use CutMix, not mixup")
    mixup_alpha: float = Field(0.4, gt=0, le=1000, description="Beta(alpha, alpha) of the mixup share")
    cutmix_alpha: float = Field(1.0, gt=0, le=1000, description="Beta(alpha, alpha) of the CutMix area")
    clean_share: float = Field(0.1, ge=0, le=1, description="last share of the epochs that go unmixed")


class OptimSpec(_Strict):
    """The optimizer and the windows it steps on."""

    name: Literal["adam", "adamw", "sgd"] = Field("adamw", description="optimizer; sgd uses Nesterov momentum")
    lr: float = Field(3e-3, gt=0, description="peak learning rate, per optimizer step")
    weight_decay: float = Field(0.1, ge=0, description="weight decay, of weights but not of norms and biases")
    decay_all: bool = Field(False, description="apply weight decay to norms and biases too")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd, beta1 of adam and adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta2 of adam and adamw")
    clip_norm: float | None = Field(5.0, gt=0, description="largest gradient norm; none: no clipping")
    fused: bool = Field(True, description="use the fused kernel where the device has one")
    batch_size: int = Field(64, gt=0, le=MOST_IMAGES, description="micro-batch: images per forward pass")
    accumulation_steps: int = Field(
        4, gt=0, le=MOST_IMAGES, description="accumulation steps: micro-batches per optimizer step"
    )

    @property
    def effective_batch_size(self) -> int:
        """Images per optimizer step and process."""
        return self.batch_size * self.accumulation_steps


class ScheduleSpec(_Strict):
    """The learning rate over the optimizer steps of all epochs."""

    name: Literal["one-cycle", "cosine", "constant"] = Field(
        "one-cycle", description="shape of the learning rate over the steps"
    )
    warmup: float = Field(0.2, ge=0, lt=1, description="share of the steps over which the rate rises")
    start_factor: float = Field(0.04, gt=0, le=1, description="first rate as a share of lr, when warming up")
    end_factor: float = Field(4e-5, ge=0, le=1, description="last rate as a share of lr")


class LossSpec(_Strict):
    """Cross-entropy and how samples and classes weigh in it."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="target mass spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="weights of the classes in the loss; balanced: the inverse of their shares of the training images",
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="how images are drawn; balanced: classes equally often, with replacement"
    )


class DistillSpec(_Strict):
    """Learning from a trained network's answers beside the labels (knowledge distillation).

    Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531. Knowledge distillation: A good
    teacher is patient and consistent, https://arxiv.org/abs/2106.05237.
    """

    teacher: str | None = Field(
        None,
        min_length=1,
        description="folder of the run, or of the model, whose answers are learned from; none: the labels alone",
    )
    weight: float = Field(
        0.9, gt=0, le=1, description="share of the loss that is against the teacher's answers; the rest: the labels"
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=100,
        description="both networks' logits are divided by it before they are compared; larger: the classes that the "
        "teacher finds unlikely count more",
    )
    views: int = Field(
        16,
        gt=0,
        le=1000,
        description="fixed views of each image, which the teacher is asked about once; they come in turn",
    )


class TrainSpec(_Strict):
    """How long, and what is kept."""

    epochs: int = Field(100, gt=0, le=MOST_EPOCHS, description="passes over the training images")
    max_minutes: float | None = Field(
        None, gt=0, description="stop early after so many minutes; never shapes the schedule"
    )
    monitor: str = Field(
        "loss",
        min_length=1,
        max_length=100,
        description="metric that chooses the epoch on validation: loss (log loss, which also tells apart epochs that "
        "predict the same classes), f1 (macro-F1), accuracy, kappa … or another that a reporter offers",
    )
    patience: int | None = Field(
        None, gt=0, le=MOST_EPOCHS, description="stop after so many epochs that monitor finds no better on validation"
    )
    average_decay: float = Field(0.998, ge=0, lt=1, description="exponential averaging of weights per step; 0: off")
    average_every: int = Field(
        1,
        gt=0,
        le=10**6,
        description="optimizer steps from one update of the average to the next, which then counts for all of them; an "
        "epoch's last step has one, too",
    )
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints within an epoch")
    keep_checkpoints: Literal["last-and-best", "all"] = Field("last-and-best", description="which checkpoints stay")
    keep_optimizer: bool = Field(
        False,
        description="keep the optimizer's state of a finished run, so that it can be trained on (resume --epochs)",
    )


class TransferSpec(_Strict):
    """What of a pretrained network is trained, from when on, and how fast."""

    freeze: str = Field(
        "none",
        pattern=r"^(none|early|backbone|gradual|until:.+)$",
        description="stages that keep their weights: none; early: the stem and the earlier half of the stages; "
        "backbone: all but the head; until:STAGE: all before it; gradual: all at first, then fewer from the head down",
    )
    freeze_pattern: tuple[str, ...] = Field(
        (), description="globs of parameter names that are frozen besides, as in *.layer1.*"
    )
    bn: Literal["frozen", "batch", "recalibrate"] = Field(
        "frozen",
        description="BatchNorm of frozen stages; frozen: stored statistics; batch: those of each micro-batch, and "
        "the stored ones move; recalibrate: measured anew on the training images, then frozen",
    )
    backbone_lr: float | None = Field(None, gt=0, description="peak learning rate of all but the head; none: optim.lr")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="each layer's learning rate as a share of the next one's towards the head"
    )
    start_from: str | None = Field(
        None,
        min_length=1,
        description="folder of another run, whose best weights come first, or of a model; the head's only if the "
        "classes are the same",
    )
    warmup_epochs: int = Field(0, ge=0, le=MOST_EPOCHS, description="first epochs in which only the head is trained")
    gradual_epochs: int = Field(
        1, gt=0, le=MOST_EPOCHS, description="gradual: epochs until the next stage is trained too"
    )
    views: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="fixed views of each image (1: the plain one alone), whose passage through the frozen stages is "
        "computed once; 0: a new augmentation each epoch, nothing kept; none: 4 if all but the head is frozen, else 0",
    )
    feature_precision: Literal["half", "single"] = Field(
        "half", description="precision in which outputs of frozen stages are kept"
    )
    feature_cache_gb: float = Field(
        8.0,
        ge=0,
        le=2**20,
        description="disk that kept outputs may take, GiB; 0: fixed views, computed anew at each step",
    )

    @field_validator("layer_decay")
    @classmethod
    def _one_way_to_set_rates(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("backbone_lr") is not None:
            raise ValueError("can't be combined with backbone_lr; set one of the two to null")
        return value


class EvalSpec(_Strict):
    """How the network is measured."""

    flip_average: bool = Field(True, description="average the probabilities of an image and its mirror image")
    train_subset: int = Field(1000, gt=0, le=10**9, description="training images re-measured without augmentation")
    curve_points: int | None = Field(
        10,
        gt=0,
        le=10**6,
        description="epochs at which training images and test are measured beside validation, evenly spread, the last "
        "one among them; none: all",
    )
    batch_size: int = Field(256, gt=0, le=MOST_IMAGES, description="images per evaluation batch")

    def is_point(self, epoch: int, *, epochs: int) -> bool:
        """Whether training images and test are measured after an epoch, counted from 1."""
        points = self.curve_points
        return points is None or epoch * points // epochs > (epoch - 1) * points // epochs


class RuntimeSpec(_Strict):
    """Where and in which precision it runs; changes speed and rounding, nothing else."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="device: auto, cpu, cuda, cuda:N or mps"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="precision; auto: bf16 autocast where the processor multiplies bf16 natively, else fp32"
    )
    channels_last: bool = Field(True, description="keep image tensors in channels-last memory format")
    threads: int | None = Field(None, gt=0, le=1024, description="processor threads; none: all, or one beside a GPU")


class RunSpec(_Strict):
    """A whole run."""

    schema_version: Literal[1] = Field(1, description="version of this schema")
    recipe: str = Field(
        "strong", description="preset that the other fields start from: strong, fast, finetune or assignment"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of everything random")
    model: Component = Field(Component(name=DEFAULT_MODEL), description="the network")
    data: DataSpec = Field(DataSpec(), description="the images")
    augment: AugmentSpec = Field(AugmentSpec(), description="augmentation of training images")
    progressive: ProgressiveSpec = Field(ProgressiveSpec(), description="smaller training images at first")
    mix: MixSpec = Field(MixSpec(), description="mixing of training images")
    optim: OptimSpec = Field(OptimSpec(), description="the optimizer")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="the learning-rate schedule")
    loss: LossSpec = Field(LossSpec(), description="the loss")
    distill: DistillSpec = Field(DistillSpec(), description="a teacher")
    train: TrainSpec = Field(TrainSpec(), description="length and checkpoints")
    transfer: TransferSpec = Field(TransferSpec(), description="freezing, and learning rates of stages")
    evaluation: EvalSpec = Field(EvalSpec(), description="measuring")
    runtime: RuntimeSpec = Field(RuntimeSpec(), description="device and precision")

    @model_validator(mode="before")
    @classmethod
    def _start_from_recipe(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("recipe", "strong")
        recipe = RECIPES.get(name, {}) if isinstance(name, str) else {}
        progressive = values.get("progressive")
        if isinstance(progressive, Mapping) and "sizes" in progressive:
            # Other sizes come with shares of their own.
            recipe = {key: value for key, value in recipe.items() if key != "progressive"}
        return merge(merge({"model": {"name": DEFAULT_MODEL}}, recipe), values)

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str) -> str:
        if name not in RECIPES:
            raise ValueError(str(UnknownNameError("recipe", name, RECIPES)))
        return name


RECIPES: dict[str, dict[str, Any]] = {
    # Many epochs of much augmentation. Its crops magnify what they show, so whole images of the full size look as its
    # smaller training images do (the FixRes effect, see ProgressiveSpec).
    "strong": {"progressive": {"sizes": [0.75], "shares": [1.0]}},
    # Good accuracy in few minutes: small images, many optimizer steps, and no more augmentation than so few epochs can
    # use. The average of the weights reaches back over the last epochs alone; taken at every step it would cost a
    # twentieth of the time.
    "fast": {
        "augment": {
            "alternating_flip": True,
            "crop_scale": 0.5,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "erase": 0.0,
        },
        "progressive": {"sizes": [0.5, 0.75], "shares": [0.3, 0.7]},
        "mix": {"probability": 0.0},
        "optim": {"batch_size": 128, "accumulation_steps": 1},
        "train": {"epochs": 20, "average_decay": 0.99, "average_every": 4},
        "evaluation": {"train_subset": 250},
    },
    # A pretrained network on few images: a fast head, a slow backbone, mild augmentation, no mixing.
    "finetune": {
        "model": {"name": FINETUNED_MODEL},
        "augment": {
            "crop_scale": 0.5,
            "rotation": 0.0,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "erase": 0.1,
        },
        "mix": {"probability": 0.0},
        "optim": {"lr": 3e-3, "weight_decay": 0.02, "batch_size": 64, "accumulation_steps": 1},
        "train": {"epochs": 6},
        "transfer": {"backbone_lr": 6e-4},
    },
    # The source assignment as it stands: plain Adam, no augmentation, no regularization beyond the network's dropout.
    "assignment": {
        "augment": {
            "flip": 0.0,
            "crop_scale": 1.0,
            "crop_ratio": 1.0,
            "rotation": 0.0,
            "brightness": 0.0,
            "contrast": 0.0,
            "saturation": 0.0,
            "erase": 0.0,
        },
        "mix": {"probability": 0.0},
        "optim": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "clip_norm": None, "batch_size": 32},
        "schedule": {"name": "constant", "warmup": 0.0},
        "loss": {"label_smoothing": 0.0},
        "train": {"epochs": 12, "average_decay": 0.0, "monitor": "f1"},
        "evaluation": {"flip_average": False, "curve_points": None},
    },
}


def resolve_spec(
    *, file: Path | None = None, flags: Mapping[str, Any] | None = None, assignments: Iterable[str] = ()
) -> RunSpec:
    """The run spec that a file, flags and `a.b=v` assignments ask for.

    Args:
        file: YAML spec (`--spec`).
        flags: Nested mapping of the flags that were given.
        assignments: `--set` values; they win over flags.

    Raises:
        SpecError: With one line for each wrong field.
        UsageError: The file is missing or no YAML mapping; an assignment has no `=`; the file names one recipe and
            a flag another.
    """
    asked = merge(flags or {}, parse_assignments(assignments, RunSpec))
    stored = read_yaml(file, RunSpec) if file else {}
    recipe = stored.get("recipe")
    if recipe is not None and asked.get("recipe", recipe) != recipe:
        # A saved spec holds every field, and fields win over their recipe: the flag would change nothing but a word.
        raise UsageError(f"{file}: already of recipe {recipe!r}; leave out the recipe {asked['recipe']!r} or the file")
    return validate(RunSpec, merge(stored, asked))
