"""Twins in memory of all that talks to a server."""
