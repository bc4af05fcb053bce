"""Docker: one JSON file, reloaded while dockerd runs."""
