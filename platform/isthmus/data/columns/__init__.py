"""The columns of a table: which become features, what they hold, what training refuses in them."""
