"""containerd: its top-level file, drop-ins and imports, in every config version that it reads."""
