"""Training on one worker: Lightning's Trainer with its callbacks, strategies and fast path.

Begin with `worker_loop.py`, which every worker runs, and `epoch_end.py`, the callback that reports
progress and saves checkpoints. The package depends neither on MLflow nor on how the worker was
started.
"""
