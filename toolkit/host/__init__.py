"""The host as this process reaches it: paths, files, processes, services, time."""
