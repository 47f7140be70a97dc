"""Decides which rows and which steps of series are anomalies, and explains why."""
