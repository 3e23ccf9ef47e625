"""The rules of one version, compiled: conditions, figures, segments, triggers, actions."""
