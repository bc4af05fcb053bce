"""Every flag and variable: one row each, from which parsing, help and documentation come."""
