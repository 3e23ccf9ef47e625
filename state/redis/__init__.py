"""The server: connection, names of keys, the embedded server."""
