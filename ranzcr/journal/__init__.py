"""The lab journal: read, shown, compared, drawn, and filled from tables."""
