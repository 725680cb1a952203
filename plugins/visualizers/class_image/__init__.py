"""Images made to please a class or a unit."""
