"""The frame that every report shares: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["facts", "page", "section", "table"]

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d1f22; --soft: #686d75; --line: #e3e3df;
  --s0: #2563a8; --s1: #c2571a; --s2: #2f8a57; --s3: #8a4fb0; --s4: #a67c00; --s5: #5b6470; --good: #2f8a57;
  --warn: #b26a00; --bad: #b3362b; }
@media (prefers-color-scheme: dark) { :root { --page: #131416; --card: #1b1d20; --ink: #e8e8e6; --soft: #9aa0a8;
  --line: #303338; --s0: #7db0e8; --s1: #f0a070; --s2: #7fd0a0; --s3: #c9a0e8; --s4: #e0c060; --s5: #a8b0bc;
  --good: #7fd0a0; --warn: #e8b45a; --bad: #f08a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 56px; }
h1 { font-size: 26px; line-height: 1.2; font-weight: 600; letter-spacing: -0.01em; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; font-weight: 600; margin: 0 0 12px; }
section { margin-top: 36px; }
p { margin: 0 0 10px; max-width: 74ch; }
.soft, figcaption, .note { color: var(--soft); }
.note { font-size: 13px; }
.lead { margin: 6px 0 0; color: var(--soft); overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: 12px 40px; margin: 22px 0 0; }
.numbers div { min-width: 84px; }
.numbers b { display: block; font-size: 25px; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.numbers span { font-size: 13px; color: var(--soft); }
.grid { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); }
.grid.small { gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(150px, 44%), 1fr)); }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--line); }
figcaption { font-size: 13px; margin-top: 6px; }
figcaption b { color: var(--ink); font-weight: 600; }
img.few { image-rendering: pixelated; }
body:has(#smooth:checked) img.few { image-rendering: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 7px 18px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.sum td { font-weight: 600; }
td.key { color: var(--soft); white-space: nowrap; width: 1%; }
td.value { overflow-wrap: anywhere; }
td img { width: 72px; height: 72px; object-fit: contain; display: block; border-radius: 3px; }
.pair { display: flex; gap: 6px; } tr:has(.pair) td { vertical-align: middle; }
a { color: var(--s0); }
.verdict { border-left: 3px solid var(--s5); padding: 2px 0 2px 16px; }
.verdict.good { border-color: var(--good); } .verdict.warn { border-color: var(--warn); }
.verdict.bad { border-color: var(--bad); }
.verdict p:last-child { margin: 0; }
.bars { margin: 18px 0 0; display: grid; grid-template-columns: max-content 1fr; gap: 8px 16px; align-items: center;
  font-size: 14px; max-width: 720px; }
.bar { display: flex; align-items: center; gap: 10px; }
.bar i { display: block; height: 12px; border-radius: 2px; background: var(--s5); min-width: 2px; }
.bar i.photo { background: var(--s1); } .bar i.generated { background: var(--s0); }
.bar i.final { background: var(--s2); }
.bar span { font-variant-numeric: tabular-nums; white-space: nowrap; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 12px 12px 8px; }
.chart h3 { font-size: 14px; font-weight: 600; margin: 0 0 4px; }
.chart svg { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; font-family: inherit; font-variant-numeric: tabular-nums; }
.chart .rule { stroke: var(--line); stroke-width: 1; } .chart path { fill: none; stroke-width: 1.6;
  stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; color: var(--soft); min-height: 20px; }
.legend i { display: inline-block; width: 12px; height: 3px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; }
.c0 { stroke: var(--s0); } .c1 { stroke: var(--s1); } .c2 { stroke: var(--s2); } .c3 { stroke: var(--s3); }
.c4 { stroke: var(--s4); } .c5 { stroke: var(--s5); }
.legend .c0 { background: var(--s0); } .legend .c1 { background: var(--s1); } .legend .c2 { background: var(--s2); }
.legend .c3 { background: var(--s3); } .legend .c4 { background: var(--s4); } .legend .c5 { background: var(--s5); }
.choice { float: right; font-size: 13px; color: var(--soft); display: flex; gap: 14px; }
.choice label { cursor: pointer; }
.choice input { margin: 0 5px 0 0; vertical-align: -1px; accent-color: var(--s0); }
svg.linear { display: none !important; }
body:has(#linear:checked) svg.log.paired { display: none !important; }
body:has(#linear:checked) svg.linear { display: block !important; }
details { margin-top: 14px; font-size: 14px; }
details summary { cursor: pointer; color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 14px; overflow-x: auto;
  font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 48px; font-size: 13px; color: var(--soft); border-top: 1px solid var(--line); padding-top: 12px; }
@media (max-width: 600px) { main { padding: 24px 16px 40px; } .bars { grid-template-columns: 1fr; gap: 0; }
  .bar { margin-bottom: 10px; } }
@media print { main { max-width: none; } section { break-inside: avoid; } }
"""


def page(title: str, lead: str, numbers: Mapping[str, str], body: Iterable[str]) -> str:
    """Put a page together.

    Args:
        title: plain text.
        lead: the line below it, plain text.
        numbers: the figures that matter most, each as text under its name.
        body: sections, as HTML; empty ones are left out.
    """
    figures = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in numbers.items()
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style></head><body><main>",
            f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>',
            f'<div class="numbers">{figures}</div></header>' if figures else "</header>",
            *(part for part in body if part),
            "<footer>Made by ganenc. This page holds all that it shows; it can be moved and sent as it is.</footer>",
            "</main></body></html>",
            "",
        ]
    )


def section(heading: str, *content: str, aside: str = "") -> str:
    """A section with its heading, or nothing where there is no content. ``content`` and ``aside`` are HTML."""
    inside = "\n".join(part for part in content if part)
    return f"<section>{aside}<h2>{escape(heading)}</h2>\n{inside}</section>" if inside else ""


def facts(rows: Mapping[str, object]) -> str:
    """A table of names and values, both plain text."""
    if not rows:
        return ""
    cells = "".join(
        f'<tr><td class="key">{escape(str(key))}</td><td class="value">{escape(_text(value))}</td></tr>'
        for key, value in rows.items()
    )
    return f'<div class="wide"><table>{cells}</table></div>'


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = (), last: Sequence[str] = ()
) -> str:
    """A table. Heads are plain text; cells are HTML.

    Args:
        head: the names of the columns.
        rows: the cells, row by row.
        numeric: the columns, by position, that hold numbers.
        last: a row of sums or means, set apart.
    """

    def row(cells: Sequence[str], tag: str, kind: str = "") -> str:
        inside = "".join(
            f"<{tag}{' class=number' if column in numeric else ''}>{cell}</{tag}>" for column, cell in enumerate(cells)
        )
        return f"<tr{kind}>{inside}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    sums = row(last, "td", " class=sum") if last else ""
    return f'<div class="wide"><table>{row([escape(name) for name in head], "th")}{body}{sums}</table></div>'


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
