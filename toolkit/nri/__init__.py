"""NRI mode: GPU devices by a plugin of the engine, without touching the engine's config."""
