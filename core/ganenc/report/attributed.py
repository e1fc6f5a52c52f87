"""The page of photos of which it is told what made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ganenc.report.pages import render

MOST = 200
"""Photos that are shown."""


def attributed_page(facts: Mapping[str, Any], pictures: Sequence[Mapping[str, tuple[Tensor, Tensor]]]) -> str:
    """The page of what `ganenc.jobs.Attributed` holds, with small pictures of each photo and its inversions."""
    found = Counter(row["verdict"] for row in facts["photos"])
    many = len(facts["photos"])
    return render(
        "attributed.html",
        title=f"What made {many} photo{'s' * (many != 1)}",
        numbers=dict(found.most_common()),
        rows=list(zip(facts["photos"], pictures))[:MOST],
        total=many,
        models=facts["models"],
        rate=facts["rate"],
        own=facts["own"],
        facts_shown={name: one["method"] for name, one in facts["models"].items()},
    )
