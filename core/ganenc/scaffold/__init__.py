"""Packages for plugins to begin with: each installs, passes its tests and works as it is. Imports no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
