"""Servers and checks of this machine: the MLflow page, the scheduler, the doctor."""
