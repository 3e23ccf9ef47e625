"""Adds the records that changed. See the package."""

from tests.golden import add_missing

for file in add_missing():
    print(f"added {file.name}")
