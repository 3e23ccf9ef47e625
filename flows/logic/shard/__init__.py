"""A shard as a state machine: log entries in, changed profiles, timers and outbox out."""
