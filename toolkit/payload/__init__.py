"""The files that are installed on the host."""
