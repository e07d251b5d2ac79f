"""Outcomes and scores → figures. Needs numpy only."""
