"""Submits jobs through Ray's Jobs API to a cluster, or to a Ray head node on this machine."""
