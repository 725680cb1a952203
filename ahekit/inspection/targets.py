"""What is explained: the score of a class (predicted, true, or by its name), or of one class against another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ahekit.data.classes import display_name, normalize_class
from ahekit.errors import UnknownNameError, UsageError
from ahekit.protocols import VisualizerInput

DESCRIPTION = (
    "what is explained: the logit of a class by its name, of the one predicted, of the true one, or (vs:CLASS) "
    "of the predicted class less that of CLASS; where CLASS itself is predicted, its own less the runner-up's"
)


@dataclass(frozen=True)
class Target:
    """A score for each of the images.

    Attributes:
        of: Class index whose logit counts, `(B,)`.
        against: Class index whose logit is taken off, `(B,)`; None: nothing is.
        logits: Of the untouched images, `(B, C)`.
        asked: What the user asked for, as in `DESCRIPTION`.
    """

    of: Tensor
    against: Tensor | None
    logits: Tensor
    class_names: tuple[str, ...]
    asked: str

    def score(self, logits: Tensor, index: Tensor | None = None) -> Tensor:
        """The scores `(B,)` in logits `(B, C)`; `index` tells which image each row is of."""
        rows = torch.arange(len(logits), device=logits.device)
        index = rows if index is None else index
        score = logits[rows, self.of[index]]
        return score if self.against is None else score - logits[rows, self.against[index]]

    def probability(self, logits: Tensor, index: Tensor) -> Tensor:
        """The probability `(B,)` of the class explained: among all, or of the two that are set against each other."""
        rows = torch.arange(len(logits), device=logits.device)
        if self.against is None:
            return logits.softmax(1)[rows, self.of[index]]
        return self.score(logits, index).sigmoid()

    def label(self, index: int) -> tuple[str, ...]:
        """The class predicted for an image, with its probability; and what is explained, where that is another."""
        probabilities = self.logits[index].softmax(0)
        best = int(probabilities.argmax())
        predicted = f"predicted: {self._name(best)} {float(probabilities[best]):.0%}"
        of = self._name(int(self.of[index]))
        if self.against is not None:
            return predicted, f"score: {of} against {self._name(int(self.against[index]))}"
        return (predicted,) if int(self.of[index]) == best else (predicted, f"score: {of}")

    @property
    def title(self) -> str:
        """Whose score is explained, for a title over all images."""
        if self.asked in ("predicted", "true"):
            return f"score of the {self.asked} class"
        if self.against is None:
            return f"score of {self._name(int(self.of[0]))}"
        other = display_name(normalize_class(self.asked.removeprefix("vs:")))
        return f"score of the predicted class against {other}"

    def _name(self, number: int) -> str:
        return display_name(self.class_names[number])


def choose_target(request: VisualizerInput, target: str) -> Target:
    """The score that a target's name stands for, on these images; see `DESCRIPTION`.

    Raises:
        UnknownNameError: The run has no such class.
        UsageError: The true class was asked for and isn't known.
    """
    with torch.no_grad():
        logits = request.model.module(request.images).detach()
    predicted = logits.argmax(1)
    if target == "predicted":
        return Target(predicted, None, logits, request.class_names, target)
    if target == "true":
        return Target(_true_classes(request).to(logits.device), None, logits, request.class_names, target)
    if not target.startswith("vs:"):
        of = torch.full_like(predicted, class_index(request.class_names, target))
        return Target(of, None, logits, request.class_names, target)
    if logits.shape[1] < 2:
        raise UsageError("a network with one output has no class to set against another")
    other = torch.full_like(predicted, class_index(request.class_names, target.removeprefix("vs:")))
    # Where the class itself is predicted, its score less its own would be zero everywhere.
    runner_up = logits.topk(2, dim=1).indices[:, 1]
    against = torch.where(predicted == other, runner_up, other)
    return Target(predicted, against, logits, request.class_names, target)


def class_index(class_names: tuple[str, ...], name: str) -> int:
    """A class's index by its name, in any of its known spellings.

    Raises:
        UnknownNameError: There is none.
    """
    spelling = name if name in class_names else normalize_class(name)
    if spelling not in class_names:
        raise UnknownNameError("class", name, class_names, listed=class_names)
    return class_names.index(spelling)


def _true_classes(request: VisualizerInput) -> Tensor:
    for name, label in zip(request.image_ids, request.labels, strict=True):
        if label < 0:
            raise UsageError(f"{name}: its true class isn't known; take --target predicted, or name a class")
    return torch.tensor(request.labels)
