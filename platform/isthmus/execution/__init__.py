"""How a downstream job is executed: its input and its provenance, and its parts on a cluster."""
