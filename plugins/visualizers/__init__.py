"""First-party visualizers."""
