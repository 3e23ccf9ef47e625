"""The edges: gateway, raw logs, delivery. Imports `schemas` only."""
