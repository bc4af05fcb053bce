"""Find, query, reload and verify the running engine."""
