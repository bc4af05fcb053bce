"""NRI mode: an engine plugin injects GPU devices; the engine's config is not changed."""
