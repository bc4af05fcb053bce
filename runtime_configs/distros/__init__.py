"""Kubernetes distributions: where each keeps the engine's files, and where we may write."""
