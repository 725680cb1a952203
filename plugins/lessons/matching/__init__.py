"""The lesson on verification and identification."""
