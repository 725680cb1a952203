"""Accuracies that others published on AHE's test images, each with what has to be known to compare."""

from __future__ import annotations

PUBLISHED = {
    "64-px edition": (
        ("small CNNs from scratch", "0.71–0.76", "as published; how the epoch was chosen is not always told"),
        ("ResNet from scratch", "0.85", "224 px"),
        ("fine-tuned ResNet50", "0.93", "64 px; pretrained on ImageNet"),
        ("larger fine-tuned networks", "0.944–0.949", "224 px; pretrained; best epoch picked on the test images"),
    )
}
"""By edition: what was trained, its accuracy, its caveat."""
