"""The thinking: pure functions and small classes on batches. Imports `schemas` only; never reads a clock."""
