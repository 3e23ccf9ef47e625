"""The parts of a page: the whole document with its style, sections, notes and tables."""

from collections.abc import Sequence
from html import escape

from flows.services.pages.charts import COLOURS
from schemas.bilingual import Lang, Words

_LIGHT = ("#0b6e4f", "#c8553d", "#3d5a80", "#b08900", "#7b4b94", "#555555", "#00838f", "#ad1457")
_DARK = ("#4fc79b", "#f08a73", "#8fb3e3", "#e6c04d", "#c59be0", "#b5b5b5", "#4dd0e1", "#f48fb1")
assert len(_LIGHT) == len(_DARK) == COLOURS
_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #ddd; --grid: #e4e4e4; \
--mark: #707070; --box: #eef6f2; LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16191c; --faint: #3a3f44; --grid: #2c3136; --mark: #9a9fa4; \
--box: #1c2a25; DARK }
}
body { font: 15px/1.55 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; \
max-width: 54em; margin: 2em auto;
  padding: 0 1em; color: var(--ink); background: var(--paper) }
h1 { font-size: 1.5em; line-height: 1.25; overflow-wrap: anywhere }
h2 { font-size: 1.15em; margin: 2em 0 .3em }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .8em; border-bottom: 1px solid var(--faint); text-align: right; vertical-align: top }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { white-space: nowrap }
th.words, td.words { text-align: left; white-space: normal; min-width: 5.5em }
tr.own { font-weight: bold }
.verdict { background: var(--box); border-left: 4px solid var(--c0); padding: .8em 1.2em; margin: 1.2em 0 }
.verdict.bad { border-color: var(--c1) }
.verdict .headline { font-size: 1.2em; font-weight: bold; margin: .2em 0 }
.verdict dt { font-weight: bold; margin-top: .7em }
.verdict dd { margin: 0 }
figure { margin: .8em 0 }
figure > svg { width: 100%; height: auto; display: block }
svg text { font-size: 12px; fill: var(--ink) }
.grid { stroke: var(--grid) }
.mark { stroke: var(--mark) }
.legend { margin: .2em 0; display: flex; flex-wrap: wrap; gap: .2em 1.4em }
.legend i { display: inline-block; width: 1.4em; height: .3em; margin-right: .4em; vertical-align: middle }
.cut, .notes { color: var(--mark); font-size: .9em; margin: .2em 0; overflow-wrap: anywhere }
"""
OURS = "millrace"  # the row of a table that stands out, unless told otherwise
_NOTES = Words("How it was done", "评估方法")


def document(title: str, parts: Sequence[str], lang: Lang = "en") -> str:
    """Return a whole page."""
    light, dark = (
        "; ".join(f"--c{number}: {colour}" for number, colour in enumerate(colours))
        for colours in (_LIGHT, _DARK)
    )
    style = _STYLE.replace("LIGHT", light).replace("DARK", dark)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{style}</style>"
    )
    return f'<!doctype html><html lang="{lang}"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def section(title: Words, sentence: Words, shown: str, lang: Lang) -> str:
    """Return a heading, what is to be seen, and how it is read."""
    return f"<h2>{escape(title.of(lang))}</h2><p>{escape(sentence.of(lang))}</p>{shown}"


def notes(said: Sequence[Words], lang: Lang) -> str:
    if not said:
        return ""
    return f"<h2>{_NOTES.of(lang)}</h2>" + "".join(
        f'<p class="notes">{escape(note.of(lang))}</p>' for note in said
    )


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, own: str = OURS, words: Sequence[int] = ()
) -> str:
    """Return a table. The row whose first cell is `own` stands out; columns of `words` are not of figures."""

    def cells(kind: str, row: Sequence[str]) -> str:
        classes = [" class=words" if place in words else "" for place in range(len(row))]
        return "".join(
            f"<{kind}{its}>{escape(cell)}</{kind}>" for its, cell in zip(classes, row, strict=True)
        )

    head = cells("th", heads)
    body = "".join(f"<tr{' class=own' if row[0] == own else ''}>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
