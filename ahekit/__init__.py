"""Train, inspect and report on CNNs that classify architectural heritage elements.

The public names stand in `__init__.pyi` and are loaded when first used, so that `import ahekit` costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
