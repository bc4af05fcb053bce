"""Undo a change: roll back, recover and revert."""
