"""Files, downloads, devices and processes: what the machine gives. Nothing here knows of images or networks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
