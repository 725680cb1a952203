"""A plugin that breaks where no guard stands around it, inside the network: still one line that names its file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

PLUGIN = """
import sys
import torch
from torch import nn
from pydantic import BaseModel, field_validator
from ahekit.registry import MODELS

class Odd(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.fc = nn.Linear(3, out)
    def forward(self, images):
        {forward}
        return self.fc(images.mean((2, 3)))

@MODELS.register("odd")
class Plugin:
    "Odd."
    image_size = 8
    class Params(BaseModel):
        width: int = 3
        @field_validator("width")
        @classmethod
        def check(cls, value):
            if value == 4: sys.exit(4)
            return value
    def build(self, params, *, num_classes, image_size):
        return Odd(num_classes)
"""


@pytest.fixture
def train(cli: Cli, class_folder: Path, tmp_path: Path) -> Cli:
    """Train a network whose `forward` begins with this line, for one epoch."""

    def run(forward: str) -> Any:
        (tmp_path / "odd.py").write_text(PLUGIN.format(forward=forward))
        args = ["--plugin", tmp_path / "odd.py", "train", "--model", "odd", "--data", class_folder, "--epochs", 1]
        args += ["--accum", 1, "--image-size", 8, "--batch-size", 8, "--runs", tmp_path / "runs", "--quiet"]
        return cli(*args)

    return run


@pytest.mark.parametrize(
    ("bug", "message"), [("1 / 0", "ZeroDivisionError: division by zero"), ("sys.exit(0)", "SystemExit: 0")]
)
def test_a_network_that_breaks_while_it_trains_is_one_line_with_its_file(
    train: Cli, tmp_path: Path, bug: str, message: str
) -> None:
    done = train(f"if torch.is_grad_enabled(): {bug}")
    assert (done.code, done.err) == (1, f"ahekit: code of file {tmp_path / 'odd.py'} failed: {message}\n")


def test_its_traceback_is_shown_when_asked_for(train: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHEKIT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        train("if torch.is_grad_enabled(): 1 / 0")


def test_a_validator_that_exits_is_one_line(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(PLUGIN.format(forward="pass"))
    done = cli("--plugin", file, "model", "show", "odd", "--set", "width=4")
    assert (done.code, done.err) == (1, f"ahekit: model 'odd' of file {file} is broken: SystemExit: 4\n")
    assert cli("--plugin", file, "model", "show", "odd", "--set", "widht=4").code == 2


def test_what_a_library_logs_is_a_warning_of_one_line_and_leaves_no_handler(cli: Cli, tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    file = tmp_path / "loud.py"
    file.write_text(
        "import logging\nlogging.getLogger('timm.models').warning('a name: %s', 'x\\x1b[31m\\ny')\n"
        "logging.getLogger('timm.models').info('nothing to tell')\n"
    )
    done = cli("--plugin", file, "plugins")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("warning: timm: a name: x")
    assert "\x1b" not in line
    assert logging.getLogger().handlers == handlers
