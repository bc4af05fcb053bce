"""The life of the process: set up, stay resident, repair, stop."""
