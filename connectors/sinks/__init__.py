"""Where triggers go."""
