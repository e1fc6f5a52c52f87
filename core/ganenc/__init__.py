"""Turn any pre-trained GAN into an auto-encoder. Importing this imports no torch; each name loads when first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
