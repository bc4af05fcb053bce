"""CRI-O: a drop-in with handlers, or an OCI hook."""
