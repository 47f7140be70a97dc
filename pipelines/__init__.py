"""Pipelines that combine the jobs: the demo, retraining, schedules. They contain no mathematics.

The repository has them in `pipelines/`; they are imported as `isthmus_pipelines`, since another
project's package could be called `pipelines`.
"""
