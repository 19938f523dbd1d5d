"""Scaling laws (3.2.1): the IsoFLOP sweep, the fitted laws, and the sizes of the herd's members."""
