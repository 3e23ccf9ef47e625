"""What `resolve` thinks: validation, joint windows, orders about identities."""
