"""dockerd: its API and its control."""
