"""What an engine's configuration files should say: bytes in, bytes out, no effect on the host."""
