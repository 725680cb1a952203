"""Keywords in XMP sidecars: `sidecar` edits one, `vocabulary` says what classes are called, `writer` is the plugin."""
