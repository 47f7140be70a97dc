"""Writes tables of latents, maps of them in two dimensions, and indexes of nearest neighbours."""
