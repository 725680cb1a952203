"""The lesson on gradient accumulation."""
