"""The files that pass between the steps of the offline road: one module a kind of row, its schema on top of it."""
