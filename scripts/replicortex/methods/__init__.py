"""Methods: one published method a file, the whole model inside."""
