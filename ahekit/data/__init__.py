"""Dataset folders become samples, a decoded cache, splits and augmented batches."""
