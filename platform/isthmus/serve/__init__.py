"""A promoted pair behind HTTP, on Ray Serve.

A request goes through two deployments of one application. The `Door` (door.py) speaks HTTP: it
checks the token and the sizes, refuses what would wait too long, and asks once more where the
process that held a request has died. The `PairReplica` (replica.py) holds the pair: it reads the
rows as a job reads a file (reading.py), computes them together with those of other requests
(batching.py), and answers in the form of the request (forms.py, verbs.py). Each replica follows
its alias by itself (following.py).

A new verb is a name in messages.py, a function in batching.py, what is written of it in verbs.py,
and a route of the door.
"""
