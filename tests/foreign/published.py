"""The published layouts that the shipped families, and the core, read; others may lie beside them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ALIKE", "READ", "folders"]

ALIKE = (
    "biggan_deep_hf",
    "encoder_authors_E",
    "encoder_authors_E_Blur",
    "pggan_genforce",
    "pggan_nvidia_tf",
    "stylegan1_genforce",
    "stylegan1_gs_gm_dir",
    "stylegan1_nvidia_tf",
    "stylegan2_genforce",
    "stylegan2_nvidia_tf",
    "stylegan2_nvlabs_cond",
    "stylegan2_nvlabs_uncond",
    "stylegan2_rosinality",
)
"""Those whose recorded outputs have the same names and meanings."""
READ = (
    *ALIKE,
    "biggan_ajbrock",
    "biggan_ajbrock_cifar",
    "biggan_ajbrock_deep",
    "pggan_ganzoo",
    "pggan_mmgen",
    "stylegan1_ganzoo",
    "stylegan1_mmgen",
    "stylegan1_podgorskiy",
    "stylegan2_mmgen",
    "stylegan3_r_cond",
    "stylegan3_t_uncond",
    "stylegan_xl",
    "fastgan_projected",
    "lightweight_gan_lucidrains",
)


def folders(checkpoints: Path) -> list[Path]:
    """The folders of these layouts that are there."""
    return [checkpoints / name for name in READ if (checkpoints / name / "about.json").is_file()]
