"""The servers of this machine (the stack, the MLflow page, the scheduler) and `isthmus doctor`."""
