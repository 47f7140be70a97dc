"""What starts the workers of training and stays with them: Ray Train, or the process itself.

`ray_trainer.py` starts several workers on the Ray that `session.py` connects to. `in_process.py`
starts one in a thread. Both wait in `courier.py`, which passes on what the workers say and brings
Ctrl-C to them.
"""
