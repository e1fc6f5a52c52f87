"""Ray for ganenc: shards inverted and encoders trained by it. Importing this imports neither torch nor Ray."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    summary = "Ray: Ray Data's actors for shards, Ray Train for a training, on this machine or a cluster"
    return [Contribution(kind="runner", name="ray", summary=summary, target="ganenc_plugin_ray.runner:RayRunner")]
