"""A report as data, and its renderings: HTML, Markdown, JSON and figures."""
