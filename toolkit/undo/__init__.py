"""Back: roll back, recover and revert."""
