"""A run as one HTML page, made from the files in its folder."""
