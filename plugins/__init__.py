"""First-party plugins, connected to ahekit by entry points alone."""
