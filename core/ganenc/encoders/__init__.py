"""Encoder, EncoderBlock, the adaptive block, heads and layers (Figure 4, Tables 9 and 10)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
