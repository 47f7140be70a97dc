"""Files that a path names, on this machine or in S3, and the hashes by which they are known."""
