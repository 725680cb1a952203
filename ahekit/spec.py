"""Run specs: everything that decides what a run does, validated before anything heavy is imported.

The field defaults are the `strong` recipe. Precedence: defaults < recipe < `--spec FILE` < flags and `--set a.b=v`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ahekit.errors import SpecError, UnknownNameError, UsageError
from ahekit.protocols import Fit, Interpolation

M = TypeVar("M", bound=BaseModel)

DEFAULT_MODEL = "cnn5"
FINETUNED_MODEL = "resnet18"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Component(_Strict):
    """A plugin by name, with its parameters (validated by the plugin's own `Params`)."""

    name: str = Field(description="registered plugin name", min_length=1)
    params: dict[str, Any] = Field(default_factory=dict, description="the plugin's parameters")


class DataSpec(_Strict):
    """Which images, and how they become the model's pixels."""

    source: str | None = Field(None, description="dataset name, folder or archive; none: the tool's default dataset")
    image_size: int | None = Field(None, ge=8, le=1024, description="side length, pixels; none: the model's own")
    fit: Fit | None = Field(None, description="how an image becomes square; none: the model's own")
    interpolation: Interpolation | None = Field(None, description="resampling; none: the model's own")
    val_fraction: float = Field(0.08, gt=0, lt=0.9, description="share of the training images cut as validation")
    test_fraction: float = Field(0.15, gt=0, lt=0.9, description="share cut as test when the dataset has none")
    near_copy_threshold: float = Field(
        0.98, gt=0, le=1, description="thumbnail correlation from which two images are near-copies"
    )


class AugmentSpec(_Strict):
    """Random changes of each training image, drawn per (seed, epoch, sample id)."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring left-right")
    crop_scale: float = Field(0.25, gt=0, le=1, description="smallest area share of a random resized crop; 1: off")
    crop_ratio: float = Field(4 / 3, ge=1, description="largest aspect ratio of a crop (and its inverse)")
    rotation: float = Field(6.0, ge=0, le=180, description="largest rotation either way, degrees")
    brightness: float = Field(0.4, ge=0, lt=1, description="largest relative change of brightness")
    contrast: float = Field(0.4, ge=0, lt=1, description="largest relative change of contrast")
    saturation: float = Field(0.4, ge=0, lt=1, description="largest relative change of saturation")
    erase: float = Field(0.25, ge=0, le=1, description="probability of erasing a rectangle")
    erase_area: float = Field(0.25, gt=0, lt=1, description="largest area share of the erased rectangle")


class MixSpec(_Strict):
    """Mixup and CutMix: convex mixes of two images and their targets, partners drawn over the window.

    mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412. CutMix: Regularization Strategy to
    Train Strong Classifiers with Localizable Features, https://arxiv.org/abs/1905.04899.
    """

    probability: float = Field(0.8, ge=0, le=1, description="probability that an image is mixed with another")
    cutmix_share: float = Field(0.5, ge=0, le=1, description="share of the mixed images that use CutMix, not mixup")
    mixup_alpha: float = Field(0.4, gt=0, description="Beta(alpha, alpha) of the mixup share")
    cutmix_alpha: float = Field(1.0, gt=0, description="Beta(alpha, alpha) of the CutMix area")
    clean_share: float = Field(0.1, ge=0, le=1, description="last share of the epochs that go unmixed")


class OptimSpec(_Strict):
    """The optimizer and the windows it steps on."""

    name: Literal["adam", "adamw", "sgd"] = Field("adamw", description="optimizer; sgd uses Nesterov momentum")
    lr: float = Field(3e-3, gt=0, description="peak learning rate, per optimizer step")
    weight_decay: float = Field(0.1, ge=0, description="weight decay of weights (not of norms and biases)")
    decay_all: bool = Field(False, description="apply weight decay to norms and biases too")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd, beta1 of adam and adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta2 of adam and adamw")
    clip_norm: float | None = Field(5.0, gt=0, description="largest gradient norm; none: no clipping")
    fused: bool = Field(True, description="use the fused kernel where the device has one")
    batch_size: int = Field(64, gt=0, description="micro-batch, images")
    accumulation_steps: int = Field(4, gt=0, description="micro-batches per optimizer step")

    @property
    def effective_batch_size(self) -> int:
        """Images per optimizer step and process."""
        return self.batch_size * self.accumulation_steps


class ScheduleSpec(_Strict):
    """The learning rate over the optimizer steps of all epochs."""

    name: Literal["one-cycle", "cosine", "constant"] = Field("one-cycle", description="shape of the schedule")
    warmup: float = Field(0.2, ge=0, lt=1, description="share of the steps over which the rate rises")
    start_factor: float = Field(0.04, gt=0, le=1, description="first rate as a share of lr, when warming up")
    end_factor: float = Field(4e-5, ge=0, le=1, description="last rate as a share of lr")


class LossSpec(_Strict):
    """Cross-entropy and how samples and classes weigh in it."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="target mass spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: a class weighs the inverse of its share of the training images"
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="balanced: classes are drawn equally often, with replacement"
    )


class TrainSpec(_Strict):
    """How long, and what is kept."""

    epochs: int = Field(100, gt=0, description="passes over the training images")
    max_minutes: float | None = Field(
        None, gt=0, description="stop early after so many minutes; never shapes the schedule"
    )
    patience: int | None = Field(
        None, gt=0, description="stop after so many epochs without a better validation macro-F1"
    )
    average_decay: float = Field(0.998, ge=0, lt=1, description="exponential averaging of weights per step; 0: off")
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints within an epoch")
    keep_checkpoints: Literal["last-and-best", "all"] = Field("last-and-best", description="which checkpoints stay")


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
        description="BatchNorm of frozen stages: frozen: stored statistics; batch: those of each micro-batch, and "
        "the stored ones move; recalibrate: measured anew on the training images, then frozen",
    )
    backbone_lr: float | None = Field(None, gt=0, description="peak learning rate of all but the head; none: optim.lr")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="each stage's learning rate as a share of the next one's towards the head"
    )
    warmup_epochs: int = Field(0, ge=0, description="first epochs in which only the head is trained")
    gradual_epochs: int = Field(1, gt=0, description="gradual: epochs until the next stage is trained too")

    @field_validator("layer_decay")
    @classmethod
    def _one_way_to_set_rates(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("backbone_lr") is not None:
            raise ValueError("can't be combined with backbone_lr; set one of the two to null")
        return value


class EvalSpec(_Strict):
    """How the network is measured."""

    flip_average: bool = Field(True, description="average the probabilities of an image and its mirror image")
    train_subset: int = Field(1000, gt=0, description="training images re-measured each epoch without augmentation")
    batch_size: int = Field(256, gt=0, description="images per evaluation batch")


class RuntimeSpec(_Strict):
    """Where and in which precision it runs; changes speed and rounding, nothing else."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the processor multiplies bf16 natively, else fp32"
    )
    channels_last: bool = Field(True, description="keep image tensors in channels-last memory format")
    threads: int | None = Field(None, gt=0, description="processor threads; none: all")


class RunSpec(_Strict):
    """A whole run."""

    schema_version: Literal[1] = Field(1, description="version of this schema")
    recipe: str = Field("strong", description="the preset the other fields start from")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of everything random")
    model: Component = Field(Component(name=DEFAULT_MODEL), description="the network")
    data: DataSpec = Field(DataSpec(), description="the images")
    augment: AugmentSpec = Field(AugmentSpec(), description="augmentation of training images")
    mix: MixSpec = Field(MixSpec(), description="mixing of training images")
    optim: OptimSpec = Field(OptimSpec(), description="the optimizer")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="the learning-rate schedule")
    loss: LossSpec = Field(LossSpec(), description="the loss")
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
        return merge(merge({"model": {"name": DEFAULT_MODEL}}, recipe), values)

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str) -> str:
        if name not in RECIPES:
            raise ValueError(str(UnknownNameError("recipe", name, RECIPES)))
        return name


RECIPES: dict[str, dict[str, Any]] = {
    "strong": {},
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
    # The source assignment as it stands: plain Adam, no augmentation, no regularisation beyond the network's dropout.
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
        "train": {"epochs": 12, "average_decay": 0.0},
        "evaluation": {"flip_average": False},
    },
}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mapping `over` on `base`; where both have a mapping they are merged, else `over` wins.

    A component's `params` given for another component name replace the base's instead of mixing with them.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            other = "name" in value and "name" in below and value["name"] != below["name"]
            merged[key] = dict(value) if other else merge(below, value)
        else:
            merged[key] = value
    return merged


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
    asked = dict(flags or {})
    for assignment in assignments:
        asked = merge(asked, parse_assignment(assignment))
    stored = read_yaml(file) if file else {}
    recipe = stored.get("recipe")
    if recipe is not None and asked.get("recipe", recipe) != recipe:
        # A saved spec holds every field, and fields win over their recipe: the flag would change nothing but a word.
        raise UsageError(f"{file}: already of recipe {recipe!r}; leave out the recipe {asked['recipe']!r} or the file")
    return validate(RunSpec, merge(stored, asked))


def validate(model: type[M], values: Mapping[str, Any], *, where: str = "") -> M:
    """Validate values against a pydantic model; every problem is reported at once.

    Args:
        where: Dotted place of the values, put before each field's name.

    Raises:
        SpecError: `optim.accumulation_steps: must be greater than 0 (got 0)`, a line for each problem.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SpecError(_problem(model, details, where) for details in error.errors()) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, where YAML would keep the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for place, (key, _) in enumerate(node.value):
            if key.value in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UsageError: No such file, no YAML, or no mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read ({getattr(error, 'strerror', None) or error})") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a spec is a mapping of fields to values, not a {type(values).__name__}")
    return values


def to_yaml(spec: BaseModel) -> str:
    """The spec as YAML that `read_yaml` reads back to an equal spec."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(spec: BaseModel, other: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Dotted fields in which two specs differ, with both values."""
    left, right = _flatten(spec.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
    return {key: (left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def parse_assignment(text: str) -> dict[str, Any]:
    """The nested mapping that an assignment `a.b=v` of `--set` stands for; `v` is read as YAML.

    Raises:
        UsageError: It has no `=`, or no field before it.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise UsageError(f"--set {text}: write FIELD=VALUE, as in --set optim.lr=0.001")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        nested = value
    if isinstance(nested, str):
        nested = _number(nested)
    for key in reversed(path.split(".")):
        nested = {key: nested}
    return dict(nested)


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-3 as a string; a user who types it means the number.
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _problem(model: type[BaseModel], details: Any, where: str) -> str:
    place = ".".join(part for part in (where, *map(str, details["loc"])) if part)
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.replace("String should", "must")
    if details["type"] in ("model_type", "dict_type"):
        message = "must be a mapping of names to values"
    if details["type"] == "extra_forbidden":
        known = _fields_at(model, details["loc"][:-1])
        return f"{place}: {UnknownNameError('field', str(details['loc'][-1]), known)}"
    if not place:
        return str(message)
    if details["type"] == "missing":
        return f"{place}: required"
    return f"{place}: {message} (got {reprlib.repr(details['input'])})"


def _fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    for key in path:
        field = model.model_fields.get(str(key))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
