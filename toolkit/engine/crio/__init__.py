"""CRI-O: its API and its control."""
