"""The files installed on the host."""
