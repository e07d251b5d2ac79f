"""How good an answer is: one module a kind of measure. Needs the extra ``train``.

``measure`` has what they share, ``catalogue`` names them all; docs/labelling.md says when to take which.
"""
