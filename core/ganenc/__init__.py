"""Turn any pre-trained GAN into an auto-encoder. Importing this imports no torch; each name loads when first used."""
