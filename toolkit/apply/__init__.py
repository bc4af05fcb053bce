"""Plan a change, record it in the journal, then make it."""
