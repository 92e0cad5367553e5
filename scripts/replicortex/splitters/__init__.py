"""Splitters: one evaluation scheme a file, each says which rows are held out in which fold."""
