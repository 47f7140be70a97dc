"""Where a job runs: Ray on this machine, or a cluster that it is submitted to."""
