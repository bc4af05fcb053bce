"""Access to the host: paths, files, processes, services, time."""
