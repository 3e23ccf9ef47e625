"""Which build this is: what is put aside is let in again when another one has mended the defect."""

from importlib.metadata import version
from typing import Final

BUILD: Final = version("millrace")
