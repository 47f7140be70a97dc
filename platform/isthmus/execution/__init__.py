"""Executes downstream jobs: opens the input, records provenance, spreads parts over a cluster."""
