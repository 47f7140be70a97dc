"""How far training is: what is told to whoever listens, and the checkpoints to go on from.

Ray's controller and the actor of events unpickle small things from this package, so its `reporter`
and `events` load neither torch nor Lightning.
"""
