"""Name to adapter: the one place that lists the engines."""
