"""Predictions of a finished network, and the metrics and intervals made of them."""
