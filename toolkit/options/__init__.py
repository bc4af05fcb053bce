"""Every flag and variable, one row each; parsing, help and documentation derive from them."""
