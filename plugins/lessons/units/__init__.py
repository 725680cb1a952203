"""The lesson on what hidden units respond to."""
