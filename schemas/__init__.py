"""What is on the wire, in configuration and in state. Imports nothing of ours."""
