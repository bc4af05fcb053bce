"""The record of what was changed on the host, and of the original files."""
