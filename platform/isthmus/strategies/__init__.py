"""Lets several workers train together: Lightning's strategies, and torch's communication hooks.

`choice.py` gives the Trainer its strategy, with or without Ray Train; `comm_hooks.py` says how
gradients travel under DDP.
"""
