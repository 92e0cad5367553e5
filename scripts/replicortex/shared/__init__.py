"""What three or more components really share."""
