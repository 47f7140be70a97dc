"""Rows as training takes them: split, scaled, and kept in memory, in files or on a cluster."""
