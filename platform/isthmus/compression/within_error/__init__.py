"""Files with all of their columns, whose numbers come back within a maximum error, or exactly."""
