"""The directory, the shards, keys and models: Redis adapters beside their memory twins. Imports `schemas`
only."""
