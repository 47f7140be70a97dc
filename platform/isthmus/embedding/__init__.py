"""What embedding is made of: tables of latents, maps in two dimensions, indexes of neighbours."""
