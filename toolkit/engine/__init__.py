"""The engine as it really is: found, asked, reloaded and verified."""
