"""The lesson on pooling."""
