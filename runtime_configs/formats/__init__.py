"""TOML, JSON and templates: read, edited, merged, compared and redacted."""
