"""Compression to files: symbols to bytes by entropy coding, and the format of the file."""
