"""The jobs, which turn a spec into results. Each combines lower packages and uses no other job."""
