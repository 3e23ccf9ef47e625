"""The whole engine in one process, on twins, while everything goes wrong that can: `docs/simulation.md`."""
