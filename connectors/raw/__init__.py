"""The raw log: one interface, two implementations."""
