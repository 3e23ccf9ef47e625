"""The hot path as machine code, by mypyc: `make compiled` runs this in a copy of the checkout.

Only modules that hold no msgspec structs can be compiled; all others, and all that is not hot, stay Python.
"""

from mypyc.build import mypycify
from setuptools import setup

LOGIC = (
    *("facets/actions", "facets/all_facets", "facets/cluster_membership", "facets/decisions", "facets/facet"),
    *("facets/item_interactions", "facets/lifecycle", "facets/outcomes", "facets/questions", "facets/scores"),
    *("facets/segments", "facets/tags", "facets/waits"),
    *("fields/extract", "fields/identifiers", "fields/repeats", "models/features", "models/scorer_set"),
    *("profile/aggregates", "profile/fragments", "profile/sparse", "resolution/validation"),
    *("rules/action_catalogue", "rules/ruleset", "shard/follow_up", "shard/in_flight", "shard/machine"),
    *("shard/profile_merge", "shard/quarantine", "shard/scoring", "shard/state"),
)

setup(
    ext_modules=mypycify(
        [*(f"flows/logic/{name}.py" for name in LOGIC), "state/directory/graph_cache.py"], opt_level="3"
    )
)
