"""containerd: its API and its control."""
