"""Options made from the fields of pydantic models, and the table of those that train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from ahekit.cli.fields import command_line_type, is_plain, sentence
from ahekit.cli.finetune import TRANSFER
from ahekit.cli.options import MODEL, TRAINING, Flag
from ahekit.cli.train import RECIPE
from ahekit.spec import RunSpec

ROWS = (MODEL, RECIPE, *TRAINING, *TRANSFER)


@pytest.mark.parametrize(
    ("annotation", "kind", "placeholder", "plain"),
    [
        (int, int, "N", True),
        (float | None, float, "NUMBER", True),
        (Path | None, Path, "PATH", True),
        (bool, bool, "", True),
        (str, str, "TEXT", True),
        (Literal["a", "b"], Literal["a", "b"], "a|b", True),
        (Literal["one-cycle", "cosine", "constant"], Literal["one-cycle", "cosine", "constant"], "NAME", True),
        (int | Literal["all"] | None, str, "N|all", True),
        (bool | Literal["auto"], str, "true|false|auto", True),
        (tuple[str, ...], list[str], "TEXT", True),
        (list[Annotated[int, Field(gt=0)]], list[int], "N", True),
        (tuple[int, int], str, "YAML", False),
        (dict[str, int], str, "YAML", False),
        (list[list[int]], str, "YAML", False),
        (BaseModel | None, str, "YAML", False),
    ],
)
def test_a_field_is_read_as_what_its_type_says(annotation: Any, kind: Any, placeholder: str, plain: bool) -> None:
    assert command_line_type(annotation) == (kind, placeholder)
    assert is_plain(annotation) is plain


@pytest.mark.parametrize(
    ("description", "annotation", "default", "said"),
    [
        ("images per batch", int, 8, "Images per batch (default: 8)."),
        ("rate", float, 3e-3, "Rate (default: 0.003)."),
        ("rate; none: that of the head", float | None, None, "Rate; without it: that of the head."),
        ("stages; none: all", str, "none", "Stages; none: all (default: none)."),
        ("switch", bool, False, "Switch."),
        ("switch", bool, True, "Switch (default: on)."),
        ("globs", tuple[str, ...], (), "Globs (may be given several times)."),
        ("shape", Literal["one-cycle", "cosine", "constant"], "cosine", "Shape (one-cycle, cosine or constant; "),
        (None, int, 1, "(default: 1)."),
        (None, int, None, ""),
    ],
)
def test_help_is_the_fields_description_and_default(
    description: str | None, annotation: Any, default: Any, said: str
) -> None:
    field = Field(default, description=description)
    field.annotation = annotation
    assert sentence(field, default).startswith(said)
    assert bool(said) == bool(sentence(field, default))


@pytest.mark.parametrize("flag", ROWS, ids=lambda flag: flag.name)
def test_every_row_names_a_field_and_has_help(flag: Flag) -> None:
    (option,) = flag.parameter("strong").annotation.__metadata__
    assert len(option.help) > 20
    assert option.help.endswith(".")


def test_help_names_the_defaults_of_the_commands_own_recipe(cli: Callable[..., Any]) -> None:
    for command, recipe in (("train", "strong"), ("finetune", "finetune")):
        said = " ".join(cli(command, "--help").out.replace("│", " ").split())
        assert f"Passes over the training images (default: {RunSpec(recipe=recipe).train.epochs})." in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train --optimizer rms", "invalid value for '--optimizer': 'rms' is not one of 'adam', 'adamw', 'sgd'; "),
        ("train --epochs many", "invalid value for '--epochs': must be a valid integer"),
        ("train --epochs 0", "train.epochs: must be greater than 0 (got 0)\n"),
        ("train --epoch 3", "no option --epoch; did you mean --epochs"),
        (
            "model show timm/*",
            "timm/* stands for many models; name one of them; `ahekit plugins show 'timm/*'` tells\n",
        ),
        ("train --epochs", "option '--epochs' requires an argument"),
        ("finetune --head conv", "invalid value for '--head': 'conv' is not one of 'linear', 'mlp'; "),
        ("model show", "missing argument 'name'; `ahekit model show --help` lists what it takes\n"),
        ("train now", "got unexpected extra argument"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(cli: Callable[..., Any], line: str, said: str) -> None:
    done = cli(*line.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"ahekit: {said}")
