"""The cache: bounded, last used last to go, safe for threads, fork and pickle."""

import multiprocessing
import os
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.caches import RecentCache

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 60)),
        st.tuples(st.sampled_from(["get", "drop"]), st.integers(0, 6), st.just(0)),
    ),
    max_size=40,
)


@given(steps=steps, limit=st.integers(0, 100))
def test_it_is_a_bounded_dict_that_forgets_what_was_used_longest_ago(steps, limit):
    cache, model = RecentCache(limit), {}
    for number, (action, key, size) in enumerate(steps):
        if action == "put":
            cache.put(key, number, size)
            model.pop(key, None)
            if size <= limit:
                model[key] = number, size
            while sum(kept for _, kept in model.values()) > limit:
                del model[next(iter(model))]
        elif action == "drop":
            cache.drop(key)
            model.pop(key, None)
        else:
            found = cache.get(key)
            assert found == model.get(key, (None,))[0]
            if key in model:
                model[key] = model.pop(key)
        assert cache.size_bytes == sum(kept for _, kept in model.values()) <= limit
        assert len(cache) == len(model)


def test_many_threads_keep_to_the_limit():
    cache, errors = RecentCache(1000), []

    def work(seed):
        try:
            for number in range(3000):
                key = (number * seed) % 97
                cache.put(key, key, 30 + key % 7)
                assert cache.get((number * 7) % 97) in (None, (number * 7) % 97)
                cache.drop((number * 3) % 97)
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 5, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.size_bytes == sum(30 + key % 7 for key in range(97) if cache.get(key) is not None) <= 1000


def test_it_is_pickled_empty():
    cache = RecentCache(100)
    cache.put("a", "value", 50)
    again = pickle.loads(pickle.dumps(cache))
    assert (again.limit_bytes, len(again), again.size_bytes, again.get("a")) == (100, 0, 0, None)


def drop_in_child(cache, queue):
    cache.drop("a")
    queue.put((os.getpid(), cache.get("a"), len(cache)))
    use_in_child(cache, queue)


def use_in_child(cache, queue):
    queue.put((os.getpid(), cache.get("a"), len(cache)))
    cache.put("b", 2, 10)
    queue.put((os.getpid(), cache.get("b"), len(cache)))


@pytest.mark.parametrize(("work", "n_dropped"), [(use_in_child, 0), (drop_in_child, 1)])
def test_a_child_forked_while_a_thread_held_the_lock_does_not_hang(work, n_dropped):
    cache = RecentCache(100)
    cache.put("a", 1, 10)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with cache._lock:
        child = context.Process(target=work, args=(cache, queue))
        child.start()
        child.join(20)
        hung = child.is_alive()
        if hung:
            child.kill()
    assert not hung
    assert [queue.get()[1:] for _ in range(2 + n_dropped)] == [*[(None, 0)] * (1 + n_dropped), (2, 1)]
    assert cache.get("a") == 1
