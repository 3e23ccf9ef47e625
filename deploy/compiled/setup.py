"""The hot path as machine code, by mypyc: `make compiled` runs this in a copy of the checkout.

Only modules that hold no msgspec structs can be compiled; all others, and all that is not hot, stay Python.
"""

from mypyc.build import mypycify
from setuptools import setup

LOGIC = (
    *("actions", "aggregates", "decide", "extract", "fragments", "handover", "identifiers", "menu", "outcomes", "profile"),
    *("quarantine", "questions", "rules", "scoring", "shard", "sparse", "timers", "touches", "transit", "validate"),
    *("entry/repeats", "models/features", "models/panel"),
)

setup(ext_modules=mypycify([*(f"flows/logic/{name}.py" for name in LOGIC), "state/directory/graph_cache.py"], opt_level="3"))
