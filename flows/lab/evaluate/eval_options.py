"""What the commands of `millrace eval` have in common."""

from pathlib import Path
from typing import Annotated

import typer

from schemas import bilingual

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="With a header; also gzipped.")]
Time = Annotated[str | None, typer.Option(metavar="COLUMN", help="When it happened: dates, or seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="REPORT.html", help="Also write a report with charts.")
]
Lang = Annotated[bilingual.Lang, typer.Option(help="The language of the verdict and the report.")]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of the file, such as gb18030; without it UTF-8 or what it looks like."
    ),
]
