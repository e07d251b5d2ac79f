"""Which of N models answers: a classifier of queries, a ranking of experts for each class, and the load they carry.

In the order of a call, one file a step: ``choosing`` (what is forced, who can serve the call, whatever the router
raises), ``router`` (a cluster's ranking, best first, learned from outcomes or given by the user; saved and loaded),
``clusters`` (text → cluster, trained by ``shared_router.training.expert_clusters``, served with numpy only), ``slots``
(limits, queues and spill, one count for threads and event loops), ``decision``.
"""
