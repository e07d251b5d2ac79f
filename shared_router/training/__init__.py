"""Labels → artifact. Needs the extra ``train``: ``pip install 'hybrid-llm[train]'``."""
