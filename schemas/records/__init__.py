"""What lies in state and logs."""
