"""The hot path as machine code, by mypyc: `make compiled` runs this in a copy of the checkout.

Only modules that hold no msgspec structs can be compiled; all others, and all that is not hot, stay Python.
"""

from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

FACETS = sorted(f"facets/{path.stem}" for path in Path("flows/logic/facets").glob("[a-z]*.py"))
LOGIC = (
    *FACETS,
    *("fields/extract", "fields/identifiers", "fields/repeats", "models/features", "models/scorer_set"),
    *("profile/aggregates", "profile/facet_figures", "profile/fragments", "profile/sparse"),
    *("resolution/validation", "rules/action_catalogue", "rules/ruleset"),
    *("shard/follow_up", "shard/in_flight", "shard/machine", "shard/profile_merge", "shard/quarantine"),
    *("shard/scoring", "shard/state"),
)

setup(
    ext_modules=mypycify(
        [*(f"flows/logic/{name}.py" for name in LOGIC), "state/directory/graph_cache.py"], opt_level="3"
    )
)
