"""Wrapping a backbone of any library: a new head, stages to freeze and cut at, and first weights."""
