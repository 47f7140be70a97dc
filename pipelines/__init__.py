"""Pipelines that compose the jobs: the demo, retraining, schedules. They own no maths."""
