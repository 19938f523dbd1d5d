"""Scaling laws (3.2.1): the IsoFLOP sweep, the fit, and the herd's sizes."""
