"""Which process is the engine: its socket, its identity, its supervisor, and who uses it."""
