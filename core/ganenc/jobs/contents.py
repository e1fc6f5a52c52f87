"""What of a folder goes to the Hugging Face Hub, and the card that says what is known of it. Not in paper."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, GanencError, LatentsError, SpecError
from ganenc_registry.specs import Noise
from ganenc_registry.specs.layout import shape_text
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData
from pydantic import BaseModel, ValidationError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.files import MARK, finite, is_ours, open_parquet, read_json
from ganenc.images import depict, grid, png_bytes, read, shrink
from ganenc.inversion import PhotoFolder
from ganenc.jobs.photo_index import INDEX
from ganenc.jobs.photo_row import DONE
from ganenc.jobs.result_folder import ResultFolder
from ganenc.jobs.shard_index import PERCENTILES, index_shards
from ganenc.jobs.shard_records import PARQUET
from ganenc.latents import FORM, Latents, read_layout
from ganenc.measures import HELD_OUT
from ganenc.model import Model, load
from ganenc.models import (
    DIRECTIONS,
    ENCODER,
    HUB_FILES,
    has_config,
    load_encoder,
    model_hash,
    read_config,
    repository_of,
    resolve,
)
from ganenc.report import metric_name, plain

PICTURE, ROWS, EVALUATION = "samples.png", "metadata.jsonl", "evaluation.json"
CONFIG, WEIGHTS = HUB_FILES[:2]
SHOWN, PIXELS = 8, 160
"""So many samples are in the picture, the longer side of each of at most so many pixels."""
_LICENCE = re.compile(
    r"unknown|mit|isc|unlicense|wtfpl|openrail|apache-2\.0|artistic-2\.0|mpl-2\.0|bsd(-[23]-clause)?|cc0-1\.0"
    r"|cc-by(-nc)?(-sa)?-[34]\.0|cc-by-nc-nd-[34]\.0|cc-by-nd-4\.0|agpl-3\.0|gpl-[23]\.0|lgpl-(2\.1|3\.0)"
)
"""The Hub's own names of licences, as far as weights are given under them; others are told to it as ``other``."""
ABOUT = "[ganenc](https://github.com/ganenc/ganenc)"


@dataclass
class Content:
    """What goes to a repository, and what its card says."""

    what: str
    files: dict[str, Path | bytes]
    summary: str
    facts: dict[str, Any]
    snippet: str
    metadata: dict[str, Any]
    model: Model | None = None
    named: str = ""
    """What its generator is called wherever it is loaded, if it is not pushed itself."""
    pictures: Sequence[Tensor] = ()
    caption: str = ""
    note: str = (
        f"{ABOUT} turns any pre-trained GAN into an auto-encoder. It reads these files as data, and runs nothing."
    )
    columns: Sequence[str] = ("of", "metric", "value", "mean image", "taken with")
    rows: list[Sequence[str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Of the repository: ``model`` or ``dataset``."""
        return "dataset" if self.what in ("a job", "shards") else "model"

    def card(self, repository: str) -> str:
        """The card, as Markdown with its metadata on top."""
        title = repository.rpartition("/")[2]
        data: Any = (
            ModelCardData(library_name="ganenc", model_name=title, **self.metadata)
            if self.kind == "model"
            else DatasetCardData(pretty_name=title, **self.metadata)
        )
        known: Any = [] if self.model is None else [("generator", self.model.generator.spec.family)]
        known += [("model", self.named)] if self.named in registry().names("model") else []
        owners = [re.fullmatch(r"([\w.-]+) \d\S*", registry().owner(*one)) for one in known]
        needed = ['"ganenc[shards]"' if self.what == "shards" else "ganenc", *(one[1] for one in owners if one)]
        facts = [(_literal(name), _literal(plain(value))) for name, value in self.facts.items() if value]
        made = (ModelCard if self.kind == "model" else DatasetCard).from_template(
            data, template_path=str(Path(__file__).with_name("card.md")), mark=MARK, title=title, facts=facts,
            summary=self.summary, picture=PICTURE if self.pictures else "", caption=self.caption, note=self.note,
            install=" ".join(["pip install", *dict.fromkeys(needed)]),
            snippet=self.snippet, columns=self.columns, rows=[[_literal(cell) for cell in row] for row in self.rows],
        )  # fmt: skip
        return str(made)

    def picture(self) -> bytes:
        """The pictures side by side, as a PNG file."""
        small = [shrink(one, PIXELS) for one in self.pictures if one.shape == self.pictures[0].shape]
        return png_bytes(grid(torch.stack(small), SHOWN), sheet=True)


def content_of(
    folder: Path, repository: str, of: str | Path | None = None, measured: str | Path | None = None
) -> Content:
    """What a folder is and holds; the arguments are those of `push`, a GanencError as there."""
    model = has_config(folder)
    encodes = model and read_config(folder).get("kind") == "encoder"
    if model and not encodes and of is not None:
        raise SpecError("--model is the generator that an encoder or latents belong to; a generator has none.")
    if measured is not None and not model:
        raise SpecError("--measured is of a model; how good latents are is in their rows.")
    if model:
        return _network(folder, repository, folder if not encodes else of, measured, encodes=encodes)
    if (folder / INDEX).is_file():
        return _job(folder, repository, of)
    if any(folder.glob(f"*{PARQUET}")):
        return _shards(folder, repository, of)
    inside = folder / ENCODER
    hint = f"; push {inside}" if has_config(inside) else ", as `ganenc convert` and `ganenc invert` leave them"
    raise SpecError(f"{folder} is neither a model's folder nor a job's, nor does it hold shards of latents{hint}.")


def _network(
    folder: Path, repository: str, of: str | Path | None, measured: str | Path | None, *, encodes: bool
) -> Content:
    """A generator, with what lies in its folder, or an encoder."""
    model = None if of is None else load(of, encoder=folder if encodes else None)
    encoder = load_encoder(folder) if model is None else model.encoder
    info, rows = resolve(folder).info, _measures(folder, measured, model, encoder)
    files: dict[str, Path | bytes] = {name: folder / name for name in (CONFIG, WEIGHTS)}
    if not encodes:
        for place in sorted(folder.glob(f"{ENCODER}*")):
            if has_config(place) and read_config(place).get("kind") == "encoder":
                load_encoder(place)  # Nothing broken goes there.
                files |= {f"{place.name}/{name}": place / name for name in (CONFIG, WEIGHTS)}
        files |= {f"{DIRECTIONS}/{path.name}": path for path in _own(folder / DIRECTIONS, "*.safetensors")}
    facts = {
        name.replace("_", " "): value
        for name, value in info.items()
        if name != "photos" and isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    if encoder is not None:
        facts = {
            "encoder of images": shape_text(encoder.spec.size),
            "its latents": _layout(encoder.spec.layout),
            **facts,
        }
    named, family, pictures, pipeline = _portable(of) if encodes else repository, "", [], None
    if model is not None:
        spec, family = model.generator.spec, f" of the family `{model.generator.spec.family}`"
        facts = {"family": spec.family, "images": f"{shape_text(spec.size)}, {spec.channels} channels",
                 "classes": spec.classes, "latents": _layout(spec.layout), "licence": model.licence,
                 "weights of the generator": model.hash, **facts}  # fmt: skip
        drawn = model.generate(SHOWN, first=HELD_OUT).images
        pictures = [*depict(drawn.cpu(), spec)]
        with suppress(GanencError):  # Classes may be beyond what is found without a backbone.
            again = drawn[:0] if encoder is None else model.invert(drawn, "encode").reconstructions.detach()
            pictures += [*depict(again.cpu(), spec)] if len(again) else []
        pipeline = None if spec.classes or spec.shows != "pictures" else "unconditional-image-generation"
    snippet = f'import ganenc\n\nencoder = ganenc.load_encoder("{repository}")\nprint(encoder.spec.size)'
    if model is not None and named:
        photo = "photo.jpg" if model.generator.spec.shows == "pictures" else "values.npy"
        loaded, once = f'"{named}"' + f', encoder="{repository}"' * encodes, ', "encode"' * (encoder is not None)
        snippet = f"import ganenc\n\nmodel = ganenc.load({loaded})\ndrawn = model.generate(4, seed=0)\n"
        snippet += f'inverted = model.invert("{photo}"{once})\nprint(inverted.latents, inverted.metrics)'
    source = named if encodes else str(info.get("source", ""))
    both = "; below, what one pass of the encoder makes of them" * (len(pictures) > SHOWN)
    metadata = {
        "pipeline_tag": "image-feature-extraction" if encodes else pipeline,
        "tags": ["gan", "gan-inversion", *([] if model is None else [model.generator.spec.family])],
        "base_model": repository_of(source) or None,
        "eval_results": [_result(row) for row in rows] or None,
        **_licence("unknown" if model is None else model.licence, source),
    }
    return Content(
        "an encoder" if encodes else "a generator", files, _summary(family, encodes, encoder), facts, snippet, metadata,
        model, named, pictures, f"Images drawn from the generator{both}.", rows=[row.cells() for row in rows],
    )  # fmt: skip


def _summary(family: str, encodes: bool, encoder: Encoder | None) -> str:
    if encodes:
        return f"An encoder: photos become latents{' of a generator' if family else ''}{family}."
    more = "" if encoder is None else ", and its encoder: photos become latents, latents photos"
    return f"A generator{family}{more}."


class _Number(BaseModel):
    mean: float | None
    std: float | None = None
    mean_image: float | None = None


class _Evaluation(BaseModel):
    """What a card takes of the file that `ganenc evaluate` leaves."""

    spec: dict[str, Any]
    images: int
    weights: dict[str, str]
    metric_settings: dict[str, str]
    metrics: dict[str, _Number]


@dataclass
class _Measured:
    """A metric of some images, and how it was taken."""

    kind: str
    count: int
    name: str
    number: _Number
    how: str

    def cells(self) -> list[str]:
        """Its row."""
        value, std, base = (
            "" if one is None else f"{one:.4g}" for one in (self.number.mean, self.number.std, self.number.mean_image)
        )
        return [self.of, metric_name(self.name), f"{value or '?'}{f' ± {std}' if std else ''}", base, self.how]

    @property
    def of(self) -> str:
        """The images."""
        return f"{self.count} {'generated images' if self.kind == 'generated' else self.kind}"


def _result(row: _Measured) -> EvalResult:
    return EvalResult(
        task_type="image-to-image", task_name="GAN inversion", dataset_type=row.kind, dataset_name=row.of,
        metric_type=row.name, metric_name=metric_name(row.name), metric_value=row.number.mean,
        metric_args={"taken with": row.how},
    )  # fmt: skip


def _measures(
    folder: Path, measured: str | Path | None, model: Model | None, encoder: Encoder | None
) -> list[_Measured]:
    """What was measured of these weights: by an evaluation, or else as an encoder's config tells."""
    path = Path(measured or folder)
    path = path / EVALUATION if path.is_dir() else path
    if measured is not None or (path.is_file() and is_ours(path)):
        try:
            found = _Evaluation.model_validate(read_json(path, "evaluate anew"))
        except (OSError, ValidationError):
            raise CheckpointError(f"{path} is not what `ganenc evaluate --out` leaves; evaluate anew.") from None
        own = {} if model is None else {"generator": model.hash}
        own |= {} if encoder is None else {"encoder": model_hash(encoder)}
        if all(own.get(name, hashed) == hashed for name, hashed in found.weights.items()):
            kind = "photos" if found.spec.get("photos") else "generated"
            return [
                _Measured(kind, found.images, name, one, found.metric_settings.get(name, ""))
                for name, one in found.metrics.items()
            ]
        if measured is not None:
            raise SpecError(f"{path} is of other weights than {folder}; evaluate these.")
        warnings.warn(f"{path} is of other weights, and left out of the card.", stacklevel=5)
    place = folder / ENCODER if has_config(folder / ENCODER) else folder
    return [
        _Measured(kind, values["images"], str(name), _Number(mean=value), "one pass of the encoder")
        for kind, values in resolve(place).info.items()
        if isinstance(values, dict) and isinstance(values.get("images"), int)
        for name, value in values.items()
        if name != "images" and isinstance(value, int | float)
    ]


def _job(folder: Path, repository: str, of: str | Path | None) -> Content:
    """What was found of photos, a folder each; none of the pictures that show them."""
    files: dict[str, Path | bytes] = {}
    rows: list[dict[str, Any]] = []
    scores: dict[str, list[float]] = {}
    failed, places, picture = 0, [], PhotoFolder.RECONSTRUCTION
    for row in ResultFolder(folder).rows():
        place, name = PhotoFolder(folder / row["folder"]), row["folder"]
        own = {path.name: path for path in _own(place.path, "*")}
        failed += row["status"] != DONE
        if row["status"] == DONE and place.LATENTS in own:
            places.append(place)
            kept = [one for one in (place.LATENTS, place.TUNING, picture, place.VALUES[1]) if one in own]
            files.update({f"{name}/{one}": own[one] for one in kept})
            tuned = f"{name}/{place.TUNING}" if place.TUNING in kept else None
            told = {one: row.get(one) for one in ("label", "seconds", "warning")}
            rows.append({"file_name": f"{name}/{picture}", "photo": Path(row["photo"]).name,
                         "latents": f"{name}/{place.LATENTS}", "tuning": tuned, **told, **row["metrics"]})  # fmt: skip
            for metric, value in row["metrics"].items():
                scores.setdefault(metric, []).append(value)
    if not places:
        raise SpecError(f"{folder} holds no photo that was inverted, so there is nothing to push.")
    files[ROWS] = "".join(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows).encode()
    latents, facts = places[0].latents(), {}
    with suppress(OSError, GanencError):
        facts = places[0].facts()
    numbers = {
        metric: dict(zip(PERCENTILES, np.percentile(some, PERCENTILES, method="nearest").tolist(), strict=True))
        for metric, some in scores.items()
    }
    taken = facts["metric_settings"] if isinstance(facts.get("metric_settings"), dict) else {}
    return _dataset(
        "a job", repository, of, files, [ROWS, f"*/{picture}"], len(rows), numbers, [latents.model],
        {"photos": len(rows), "failed": failed, "method": facts.get("method"), "latents": _layout(latents.layout),
         "tuned weights": sum(row["tuning"] is not None for row in rows),
         **{f"{metric_name(name)} taken with": how for name, how in taken.items()}},
        f'hf_hub_download("{repository}", {rows[0]["latents"]!r}, repo_type="dataset")', "load",
        [read(place.path / picture) for place in places[:SHOWN] if f"{place.path.name}/{picture}" in files],
        f"reads the reconstructions with a row for each (`{ROWS}`), which names the files of latents and, where there"
        " are some, of the weights that were tuned for the photo.",
    )  # fmt: skip


def _shards(folder: Path, repository: str, of: str | Path | None) -> Content:
    """Parquet files of latents."""
    files: dict[str, Path | bytes] = {}
    told: dict[str, str] = {}
    for path in _own(folder, f"*{PARQUET}", marked=False):
        with open_parquet(path, LatentsError) as opened:
            found = opened.schema_arrow.metadata or {}
        if found.get(b"format") == FORM.encode():
            files[path.name] = path
            told = told or {name.decode(): text.decode("utf-8", "replace") for name, text in found.items()}
    if not files:
        raise SpecError(f"{folder} holds no shards of latents, as `ganenc invert` leaves them of shards.")
    index, first = index_shards(folder), next(iter(files))
    rows: list[dict[str, Any]] = []
    with open_parquet(folder / first, LatentsError) as opened:
        columns = [name for name in ("key", "error", "reconstruction") if name in opened.schema_arrow.names]
        for batch in opened.iter_batches(SHOWN, columns=columns):
            rows += [row for row in batch.to_pylist() if row["error"] is None]
            if len(rows) >= SHOWN:
                break
    pictures: Any = [read(row["reconstruction"]["bytes"]) for row in rows[:SHOWN] if row.get("reconstruction")]
    if of is not None and rows:
        pictures = Latents.from_parquet(folder / first, keys=[row["key"] for row in rows[:SHOWN]])
    counts = {"methods": index.methods, "verdicts": index.verdicts}
    return _dataset(
        "shards", repository, of, files, [f"*{PARQUET}"], index.photos, index.percentiles, list(index.models),
        {"photos": index.photos - index.failed, "failed": index.failed, "shards": index.shards,
         **{name: ", ".join(f"{one} ({n:,})" for one, n in found.most_common()) for name, found in counts.items()},
         "latents": _layout(read_layout(told, folder / first))},
        f'hf_hub_download("{repository}", {first!r}, repo_type="dataset")', "from_parquet", pictures,
        "reads all rows, with the latents as lists of numbers.",
    )  # fmt: skip


def _dataset(
    what: str, repository: str, of: str | Path | None, files: dict[str, Path | bytes], patterns: list[str], count: int,
    numbers: Mapping[str, Mapping[int, float]], weights: Sequence[str], facts: dict[str, Any], path: str, reader: str,
    pictures: Sequence[Tensor] | Latents, note: str,
) -> Content:  # fmt: skip
    """Latents, of a generator that may be at hand."""
    model, named = None if of is None else load(of), _portable(of)
    snippet = "import ganenc\nfrom huggingface_hub import hf_hub_download\n\n"
    snippet += f"path = {path}\nlatents = ganenc.Latents.{reader}(path)\nprint(latents)"
    facts |= {"weights of the generator": ", ".join(weights)}
    if model is not None:
        if [*weights] != [model.hash]:
            raise LatentsError(
                f"These are latents of {', '.join(one[:12] for one in weights)}; {of} is {model.hash[:12]}."
            )
        facts |= {"generator": named, "licence of the generator": model.licence}
        if isinstance(pictures, Latents):
            with torch.no_grad():
                made = torch.cat([model.generator.synthesize(one.to(model.generator.dtype)) for one in pictures])
            pictures = [*depict(made.cpu(), model.generator.spec)]
        if named:
            snippet += f'\n\ngenerator = ganenc.load_generator("{named}")'
            snippet += "\nimages = generator.synthesize(latents[:1].to(generator.dtype))"
    powers = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
    metadata = {
        "tags": ["ganenc", "gan-inversion", "latents"],
        "size_categories": powers[min(max(len(str(count)) - 3, 0), len(powers) - 1)],
        "configs": [{"config_name": "default", "data_files": patterns}],
    }
    summary = f"Latents of a GAN that rebuild photos, found by {ABOUT}. The photos themselves are not among them."
    return Content(
        what, files, summary, facts, snippet, metadata, model, named, [*pictures], "What some of the latents make.",
        f'`datasets.load_dataset("{repository}")` {note}', ["percentile", *map(str, PERCENTILES)],
        [[metric_name(name), *(f"{row[one]:.4g}" for one in PERCENTILES)] for name, row in numbers.items()],
    )  # fmt: skip


def _own(folder: Path, pattern: str, *, marked: bool = True) -> list[Path]:
    """Files of ours in a folder: none that lies elsewhere, or that another program wrote."""
    found = (path for path in sorted(folder.glob(pattern)) if path.is_file() and not path.is_symlink())
    return [path for path in found if not path.name.startswith(".") and (not marked or is_ours(path))]


def _portable(of: str | Path | None) -> str:
    """What a model is called wherever it is loaded; empty for what lies here."""
    return str(of) if of is not None and resolve(of).kind in ("hub", "shipped", "release") else ""


def _layout(layout: Sequence[Any]) -> str:
    return ", ".join(one.name if isinstance(one, Noise) else f"{one.name} {shape_text(one.shape)}" for one in layout)


def _licence(licence: str, source: str) -> dict[str, Any]:
    """A licence as the Hub takes it."""
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or "unknown"
    link = {"license_link": source} if source.startswith("https://") else {}
    return {"license": slug} if _LICENCE.fullmatch(slug) else {"license": "other", "license_name": slug[:60], **link}


def _literal(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|&~$!#])", r"\\\1", " ".join(text.split()))
