"""The installer daemon: everything that has an effect on the host."""
