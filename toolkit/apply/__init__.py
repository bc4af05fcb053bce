"""Forward: plan a change, make it, and record it in the journal first."""
