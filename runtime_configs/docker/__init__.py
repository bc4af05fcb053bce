"""Docker: one JSON file, taken up while dockerd runs."""
