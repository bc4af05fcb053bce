"""The messages that are exchanged with the engines, and the code generated from them."""
