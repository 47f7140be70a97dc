"""What one worker does: Lightning's Trainer and its callbacks, strategies and fast path.

Begin with `worker_loop.py`, which every worker runs, and `epoch_end.py`, the callback that keeps
the books. The room knows nothing of MLflow, and nothing of who started the worker.
"""
