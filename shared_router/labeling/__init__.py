"""Qualities of sampled answers → labels a router learns from. The formulas need numpy only."""
