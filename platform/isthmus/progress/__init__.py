"""The progress of training: events, reports, and the checkpoints to resume from.

Ray's controller and the event actor unpickle small objects from this package, so its modules
`reporter` and `events` import neither torch nor Lightning.
"""
