"""The published clients of others against a running millrace; `make clients` runs them, outside CI.

`catalogue` says which, `install` fetches them by their own package managers, `programs/` publishes with each
what its own documentation shows, `__main__` runs them and writes docs/clients.md, `retries` has them refused
with 429 and adds what they do.
"""
