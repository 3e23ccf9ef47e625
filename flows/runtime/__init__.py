"""What runs the flows: the deployment that is built once, the engine, the supervisor, limits, logs and
snapshots."""
