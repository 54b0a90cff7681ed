"""Layers that do not depend on any data set."""
