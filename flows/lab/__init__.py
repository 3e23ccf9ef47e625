"""Everything that tries the engine: demo, simulation, chaos and evaluation. Nothing that serves imports
it."""
