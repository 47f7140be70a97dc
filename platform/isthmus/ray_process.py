"""Is imported by each worker process of a Ray that Isthmus starts, before it does anything else.

A training takes a process for each worker and half a dozen more for Ray Train itself.
"""

from isthmus import own_process

own_process.begin()
