"""Backbones: the frozen networks behind LPIPS and Grad-CAM."""

from ganenc.backbones.base import Backbone, BackboneOutput
from ganenc.backbones.imagenet import Alex, ImageNetBackbone, Squeeze, Vgg16
from ganenc.backbones.loading import available_backbones, load_backbone

__all__ = [
    "Alex",
    "Backbone",
    "BackboneOutput",
    "ImageNetBackbone",
    "Squeeze",
    "Vgg16",
    "available_backbones",
    "load_backbone",
]
