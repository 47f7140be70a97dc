"""Starts the workers, with Ray Train or in this process, and follows them until training ends.

`ray_trainer.py` starts several workers on the Ray that `session.py` connects to. `in_process.py`
starts one in a thread. Both wait in `courier.py`, which forwards the workers' events to the
reporter, and Ctrl-C to the workers.
"""
