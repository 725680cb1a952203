"""First-party reporters: final metrics, per-class scores, learning curves, confusion matrix."""
