"""Backbones: the frozen networks behind LPIPS and Grad-CAM."""
