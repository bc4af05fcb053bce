"""The messages of ttrpc and NRI, generated from their declarations."""
