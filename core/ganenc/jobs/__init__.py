"""What takes long and leaves a folder: many photos inverted, and trainings; resumed, and shared by processes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
