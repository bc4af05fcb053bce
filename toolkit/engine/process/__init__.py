"""Find the engine's process: its socket, identity and supervisor, and the kubelet that uses it."""
