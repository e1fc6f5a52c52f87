"""The adapters: what a user writes to have a network of others as a generator. Each has at most 20 lines."""

import ganenc
import torch
from ganenc_registry.specs import Condition, GeneratorSpec, Map, Prior, Styles, Vector

from adapters import networks

WIDTHS = {4: 12, 8: 8, 16: 6, 32: 6}  # Optional; they keep the encoders of these tests small.


@ganenc.register("generator", "plain-dcgan")
class DCGAN(ganenc.Generator):
    spec = GeneratorSpec(
        family="plain-dcgan", size=16, prior=Prior(dim=10), layout=(Vector(dim=10),), resolution_channels=WIDTHS
    )

    def __init__(self, spec=None, network=None):
        super().__init__(spec)
        self.network = network or networks.seeded(networks.DCGAN)

    def synthesize(self, latents):
        return self.network(latents["z"][:, :, None, None])


@ganenc.register("generator", "sngan")
class SNGAN(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=9), "layout": (Vector(dim=9), Condition(name="label", dim=4)), "classes": 4}
        fields = {"family": "sngan", "size": 16, "resolution_channels": WIDTHS}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = network or networks.seeded(networks.SNGAN)

    def synthesize(self, latents):
        return self.network(latents["z"], latents["label"].argmax(1))


@ganenc.register("generator", "alias-free")
class AliasFree(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        g = network or networks.seeded(networks.AliasFree)
        takes = {"prior": Prior(dim=g.z_dim), "layout": (Styles(layers=g.num_ws, dim=g.w_dim),), "classes": g.c_dim}
        fields = {"family": "alias-free", "size": g.img_resolution, "channels": g.img_channels, "truncation": "styles"}
        super().__init__(spec or GeneratorSpec(**fields, **takes, resolution_channels=WIDTHS))
        self.network = g

    def map(self, z, *, labels=None, truncation=1.0, truncation_layers=None):
        rows = self.label_rows(labels) if labels is not None else None
        return self.network.mapping(z, rows, truncation_psi=truncation, truncation_cutoff=truncation_layers)

    def synthesize(self, latents):
        return self.network.synthesis(latents["w"], noise_mode="const")


@ganenc.register("generator", "chunked")
class Chunked(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=15), "layout": (Vector(dim=15),), "value_range": (0, 1)}
        fields = {"family": "chunked", "size": 16, "truncation": "prior", "resolution_channels": WIDTHS}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = network or networks.seeded(networks.Chunked)

    def synthesize(self, latents):
        return self.network(latents["z"])


@ganenc.register("generator", "one-hot")
class OneHot(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=7, kind="uniform"), "layout": (Vector(dim=7), Condition(dim=5)), "classes": 5}
        fields = {"family": "one-hot", "size": (12, 20), "channels": 1, "resolution_channels": WIDTHS}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = network or networks.seeded(networks.OneHot)

    def synthesize(self, latents):
        return self.network(latents["z"], latents["c"])


@ganenc.register("generator", "info")
class Info(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        parts = (Vector(name="noise", dim=6), Condition(name="category", dim=3), Vector(name="code", dim=2))
        takes = {"prior": Prior(dim=8), "layout": parts, "classes": 3}
        fields = {"family": "info", "size": 16, "channels": 1, "resolution_channels": WIDTHS}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = network or networks.seeded(networks.InfoGAN)

    def map(self, z, **_):
        return {"noise": z[:, :6], "code": torch.erf(z[:, 6:] / 2**0.5)}  # Uniform from -1 to 1.

    def synthesize(self, latents):
        return self.network(latents["noise"], latents["category"], latents["code"].clamp(-1.5, 1.5))


@ganenc.register("generator", "digits")
class Digits(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=8), "layout": (Vector(dim=8),), "channels": 1, "value_range": (0, 1)}
        super().__init__(spec or GeneratorSpec(family="digits", size=28, resolution_channels={28: 6, 7: 8}, **takes))
        self.network = network or networks.seeded(networks.Digits)

    def synthesize(self, latents):
        return self.network(latents["z"]).reshape(-1, 1, 28, 28)


@ganenc.register("generator", "modulated")
class Modulated(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=12), "layout": (Styles(layers=3, dim=12),)}
        super().__init__(spec or GeneratorSpec(family="modulated", size=16, resolution_channels=WIDTHS, **takes))
        self.network = network or networks.seeded(networks.Modulated)

    def map(self, z):
        return self.network.style(z)

    def synthesize(self, latents):
        return self.network([latents["w"]], input_is_latent=True, randomize_noise=False)[0]


@ganenc.register("generator", "noise-inside")
class NoiseInside(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=6), "layout": (Vector(dim=6),)}
        super().__init__(spec or GeneratorSpec(family="noise-inside", size=16, resolution_channels=WIDTHS, **takes))
        self.network = network or networks.seeded(networks.NoiseInside)

    def synthesize(self, latents):
        return self.network(latents["z"])


@ganenc.register("generator", "progressive")
class Progressive(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=13), "layout": (Vector(dim=13),)}
        fields = {"family": "progressive", "size": (24, 40), "resolution_channels": {24: 6, 12: 8}}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = network or networks.seeded(networks.Progressive)

    def synthesize(self, latents):
        return self.network(latents["z"], alpha=1.0, steps=3)["image"]


@ganenc.register("generator", "half")
class Half(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=13), "layout": (Vector(dim=13),)}
        fields = {"family": "half", "size": (24, 40), "resolution_channels": {24: 6, 12: 8}}
        super().__init__(spec or GeneratorSpec(**fields, **takes))
        self.network = (network or networks.seeded(networks.Progressive)).half()

    def synthesize(self, latents):
        return self.network(latents["z"], alpha=1.0, steps=3)["image"]


@ganenc.register("generator", "spatial")
class Spatial(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=36), "layout": (Map(name="z", channels=4, height=3, width=3),)}
        super().__init__(spec or GeneratorSpec(family="spatial", size=18, resolution_channels={18: 8, 9: 8}, **takes))
        self.network = network or networks.seeded(networks.Spatial)

    def map(self, z):
        return z.reshape(-1, 4, 3, 3)

    def synthesize(self, latents):
        return self.network(latents["z"])


@ganenc.register("generator", "voxels")
class Voxels(ganenc.Generator):
    def __init__(self, spec=None, network=None):
        takes = {"prior": Prior(dim=7), "layout": (Vector(dim=6), Vector(name="pose", dim=1))}
        super().__init__(spec or GeneratorSpec(family="voxels", size=16, resolution_channels=WIDTHS, **takes))
        self.network = network or networks.seeded(networks.Voxels)

    def synthesize(self, latents):
        return self.network(latents["z"], latents["pose"])
