"""Where a job runs: this machine's own Ray head, or a cluster through Ray's Jobs API."""
