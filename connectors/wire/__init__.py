"""Formats of events: Avro and CloudEvents."""
