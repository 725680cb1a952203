"""Training: accumulation, the step generator, optimizers, checkpoints and processes."""
