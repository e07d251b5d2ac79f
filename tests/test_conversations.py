import pickle
from concurrent.futures import ThreadPoolExecutor

from shared_router.conversations import Conversations


def test_the_last_model_is_remembered_per_key() -> None:
    conversations = Conversations()
    conversations.remember("a", "small")
    conversations.remember("b", "large")
    conversations.remember("a", "large")
    assert [conversations.previous(key) for key in ("a", "b", "c", None)] == ["large", "large", None, None]


def test_without_a_key_nothing_is_kept() -> None:
    conversations = Conversations()
    conversations.remember(None, "small")
    assert len(conversations) == 0


def test_the_longest_unused_is_forgotten_first() -> None:
    conversations = Conversations(limit=2)
    for key in ("a", "b", "a", "c"):
        conversations.remember(key, "small")
    assert [conversations.previous(key) for key in ("a", "b", "c")] == ["small", None, "small"]


def test_threads_do_not_lose_entries() -> None:
    conversations = Conversations(limit=1_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: conversations.remember(i, "large"), range(1_000)))
    assert len(conversations) == 1_000


def test_a_copy_in_another_process_starts_empty() -> None:
    conversations = Conversations(limit=7)
    conversations.remember("a", "small")
    copy = pickle.loads(pickle.dumps(conversations))
    assert (copy.limit, len(copy)) == (7, 0)
