"""The model folder that comes with the package."""
