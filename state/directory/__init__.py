"""The directory: who is who, and the only writer of the logs of shards."""
