"""Kinds of faults on a real Ray."""
