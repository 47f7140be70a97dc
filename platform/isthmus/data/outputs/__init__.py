"""Results out: files and folders that appear whole or not at all, and say which pair made them."""
