"""Whether confidence can be trusted."""
