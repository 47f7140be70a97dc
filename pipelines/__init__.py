"""Pipelines that combine the jobs: the demo, retraining, schedules. They contain no mathematics."""
