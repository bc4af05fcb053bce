"""What was changed on the host, and what was there before."""
