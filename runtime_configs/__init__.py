"""Compute the engines' configuration files: bytes in, bytes out, no effect on the host."""
