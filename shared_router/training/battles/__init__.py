"""Battles → routers: who was preferred to whom, on what question."""
