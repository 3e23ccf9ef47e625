"""Text files: delimiters, quotes, line ends, encodings."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.exports.people import CHINESE, ENGLISH, FRENCH, GERMAN, HUBSPOT, PEOPLE, SALESFORCE, Export, within
from tests.exports.words import (
    DE,
    NARROW,
    NBSP,
    US,
    ZH,
    Words,
    american_half,
    at,
    changed,
    chinese,
    chinese_half,
    dotted,
    french,
    german_mixed,
    grouped,
    iso,
    plainly,
)

Layout = Callable[[list[str]], list[str]]  # lines of cells, all but headings and rows already joined


def _line(cells: Sequence[str], between: str, quote_all: bool) -> str:
    def cell(text: str) -> str:
        quoted = quote_all or any(sign in text for sign in (between, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if quoted else text

    return between.join(map(cell, cells))


def _write(
    path: Path,
    columns: Sequence[str],
    words: Words,
    encoding: str,
    between: str = ",",
    end: str = "\r\n",
    quote_all: bool = False,
    layout: Layout = list,
) -> None:
    rows = [columns, *(words.row(one) for one in within(encoding))]
    lines = layout([_line(row, between, quote_all) for row in rows])
    path.write_bytes("".join(line + end for line in lines).encode(encoding))


def _export(
    name: str,
    imitates: str,
    columns: tuple[str, ...],
    words: Words,
    encoding: str,
    footer: tuple[int, ...] = (),
    heading_row: int = 1,
    **how: object,
) -> Export:
    write = partial(_write, columns=columns, words=words, encoding=encoding, **how)
    return Export(
        name=name,
        imitates=imitates,
        columns=columns,
        write=write,
        people=within(encoding),
        footer=footer,
        heading_row=heading_row,
    )


def _salesforce(lines: list[str]) -> list[str]:
    """Of a report; the notes stand under five empty lines."""
    notes = (
        "Customers with revenue",
        "Copyright (c) 2000-2026 salesforce.com, inc. All rights reserved.",
        "Acme GmbH",
    )
    confidential = "Confidential Information - Do Not Distribute"
    return [*lines, *[""] * 5, *(f'"{note}"' for note in (notes[0], notes[1], confidential, notes[2]))]


def _padded(lines: list[str]) -> list[str]:
    """Empty columns behind, and rows that are only formatted."""
    return [*(f"{line};;;" for line in lines), *[";" * 11] * 4]


def _titled(lines: list[str]) -> list[str]:
    return ["客户清单 2026" + "," * 8, "," * 8, *lines, '合计,,,,,"¥1,238,448.63",,,']


def _with_formula(text: str) -> str:
    return f'="{text}"'


_N = len(PEOPLE)
_TAB = "\t"
TEXTS: tuple[Export, ...] = (
    _export(
        "excel-zh.csv",
        "Excel zh-CN, CSV: GB 18030, ¥ and quotes for thousands, 1990/3/6",
        CHINESE,
        ZH,
        "gb18030",
    ),
    _export(
        "excel-zh-utf8.csv",
        "Excel zh-CN, CSV UTF-8: a mark, 1990年3月6日, 下午 3:04",
        CHINESE,
        changed(ZH, day=chinese, moment=chinese_half, amount=grouped(",", ".")),
        "utf-8-sig",
    ),
    _export(
        "excel-zh.txt",
        "Excel zh-CN, Unicode text: UTF-16 with a mark, tabs",
        CHINESE,
        ZH,
        "utf-16",
        between=_TAB,
    ),
    _export(
        "excel-zh-titled.csv",
        "Excel zh-CN, a title in merged cells above, 合计 below",
        CHINESE,
        ZH,
        "utf-8-sig",
        footer=(_N + 4,),
        heading_row=3,
        layout=_titled,
    ),
    _export(
        "excel-de.csv",
        "Excel de-DE, CSV: Windows-1252, `;`, 1.234,50 €, 06.03.1990, WAHR",
        GERMAN,
        DE,
        "cp1252",
        between=";",
    ),
    _export(
        "excel-de-utf8.csv",
        "Excel de-DE, CSV UTF-8: 1.620 beside 1.234,50",
        GERMAN,
        changed(DE, amount=german_mixed),
        "utf-8-sig",
        between=";",
    ),
    _export(
        "excel-de-sep.csv",
        "Excel de-DE, a file whose first line is sep=;",
        GERMAN,
        DE,
        "utf-8",
        between=";",
        layout=lambda lines: ["sep=;", *lines],
    ),
    _export(
        "excel-us.csv", "Excel en-US, CSV: Windows-1252, accounting format, 3/6/1990", ENGLISH, US, "cp1252"
    ),
    _export(
        "excel-us-mac.csv",
        "Excel en-US on a Mac: lines end in CR, 3:04 PM",
        ENGLISH,
        changed(US, moment=american_half(" ")),
        "utf-8-sig",
        end="\r",
    ),
    _export(
        "wps.csv",
        'WPS, CSV: GBK, ="0123" for texts, 1,234.50元',
        CHINESE,
        changed(ZH, amount=grouped(",", ".", behind="元"), text=_with_formula, moment=at(iso)),
        "gb18030",
    ),
    _export(
        "wps-apostrophe.csv",
        "WPS, texts kept by an apostrophe ('0123), ￥",
        CHINESE,
        changed(ZH, amount=grouped(",", ".", "￥"), text=lambda text: f"'{text}"),
        "utf-8",
    ),
    _export(
        "numbers.csv",
        "Numbers en-US: UTF-8, LF, a narrow blank before PM",
        ENGLISH,
        changed(US, amount=grouped(",", ".", "$"), moment=american_half(NARROW, ",")),
        "utf-8",
        end="\n",
    ),
    _export(
        "numbers-de.csv",
        "Numbers de-DE: `;`, an unbreakable blank before €, 06.03.2026, 15:04",
        GERMAN,
        changed(
            DE,
            amount=grouped(".", ",", behind=f"{NBSP}€"),
            share=plainly(",", f"{NBSP}%"),
            moment=at(dotted, ", "),
        ),
        "utf-8",
        between=";",
        end="\n",
    ),
    _export(
        "libreoffice.csv",
        "LibreOffice: every cell quoted, LF, ISO dates",
        ENGLISH,
        changed(US, amount=plainly(), share=plainly(behind="%"), day=iso, moment=at(iso, seconds=True)),
        "utf-8",
        end="\n",
        quote_all=True,
    ),
    _export(
        "libreoffice-de.tsv",
        "LibreOffice de-DE: tabs, 1234,5 without thousands",
        GERMAN,
        changed(DE, amount=plainly(","), moment=at(dotted, seconds=True)),
        "utf-8",
        between=_TAB,
        end="\n",
    ),
    _export(
        "libreoffice-fr.csv",
        "LibreOffice fr-FR: 1 234,50 € with narrow blanks, 06/03/1990, VRAI",
        FRENCH,
        Words(
            amount=grouped(NARROW, ",", behind=f"{NBSP}€"),
            share=plainly(",", f"{NARROW}%"),
            day=french,
            moment=at(french),
            truths=("VRAI", "FAUX"),
        ),
        "utf-8",
        between=";",
        end="\n",
    ),
    _export(
        "libreoffice-empty.csv",
        "LibreOffice de-DE: empty columns behind, formatted rows below",
        GERMAN,
        DE,
        "utf-8",
        between=";",
        end="\n",
        layout=_padded,
    ),
    _export(
        "salesforce.csv",
        "Salesforce, report as CSV: every cell quoted, USD 1,234.50, notes below",
        SALESFORCE,
        changed(US, amount=grouped(",", ".", "USD "), moment=american_half(" "), truths=("true", "false")),
        "utf-8",
        end="\n",
        quote_all=True,
        footer=tuple(range(_N + 7, _N + 11)),
        layout=_salesforce,
    ),
    _export(
        "hubspot.csv",
        "HubSpot: Record ID, true and false, 2026-03-06 15:04",
        HUBSPOT,
        changed(US, amount=plainly(), share=plainly(), day=iso, moment=at(iso), truths=("true", "false")),
        "utf-8",
        end="\n",
        quote_all=True,
    ),
    _export(
        "youzan.csv",
        "shop systems in China: GBK, a tab behind numbers that are texts",
        CHINESE,
        changed(ZH, text=lambda text: f"{text}\t", amount=grouped("", "."), moment=at(iso, seconds=True)),
        "gb18030",
    ),
)
