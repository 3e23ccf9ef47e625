"""The past: archive, backups, copies, and the switch to what was rebuilt."""
