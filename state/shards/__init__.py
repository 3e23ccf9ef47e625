"""The shards: profiles, timers and outbox."""
