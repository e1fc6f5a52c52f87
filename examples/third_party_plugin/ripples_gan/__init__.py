"""A GAN of ripples on water. ``ripples_gan.plugin`` is what ganenc finds; nothing else here needs ganenc."""
