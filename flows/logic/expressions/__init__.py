"""Expressions of rules: the safe subset, compiled once; what they do with values never raises."""
