"""Memory that goes to another process and back: the same pages, and never taken back too early."""

import multiprocessing
import os
import pickle

import numpy as np
import pytest

from flowstore.clips.shared_memory import _HELD, MAX_HELD, SharedNumbers, Slot, SlotPool, process_pool, receive

UINT8 = np.dtype(np.uint8)


def sent(slot, shape, dtype=UINT8):
    """Return the array as another process gets it: through the same descriptor server."""
    return receive(*slot.send(), shape, dtype)


def test_a_slot_is_free_when_the_array_and_its_views_are_gone():
    slot = Slot(24)
    array = slot.lend((2, 3), np.dtype(np.float32))
    array[:] = 7
    view = array[1, 1:]
    del array
    assert not slot.is_free
    assert view.tolist() == [7, 7]
    del view
    assert slot.is_free


def test_what_is_received_is_the_same_memory():
    slot = Slot(6)
    mine = slot.lend((2, 3), UINT8)
    mine[:] = [[1, 2, 3], [4, 5, 6]]
    theirs = sent(slot, (2, 3))
    np.testing.assert_array_equal(theirs, mine)
    mine[0, 0] = 9
    assert theirs[0, 0] == 9
    del mine
    assert not slot.is_free
    view = theirs[1:]
    del theirs
    assert not slot.is_free
    del view
    assert slot.is_free


def test_an_array_that_was_sent_but_never_received_keeps_its_slot():
    slot = Slot(6)
    slot.lend((6,), UINT8)
    assert slot.is_free
    slot.send()
    assert not slot.is_free


def test_a_pool_gives_free_slots_again_and_larger_ones_for_larger_batches():
    pool = SlotPool()
    first = pool.take(100)
    array = first.lend((100,), UINT8)
    second = pool.take(100)
    assert second is not first
    del array
    assert pool.take(50) in (first, second)
    larger = pool.take(200)
    assert larger.size_bytes == 200
    # The small ones are dropped, not searched for ever.
    assert pool.take(10) is larger


def test_a_pool_keeps_only_so_many():
    pool = SlotPool(2)
    arrays = [pool.take(8).lend((8,), UINT8) for _ in range(5)]
    for number, array in enumerate(arrays):
        array[:] = number
    assert [int(array[0]) for array in arrays] == list(range(5))
    assert len(pool._slots) == 2


def test_no_file_is_left_and_no_descriptor():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors are counted in /proc, which this system does not have")
    # The first one starts the server that hands descriptors over.
    sent(Slot(1), (1,))
    before = len(os.listdir("/proc/self/fd"))
    slot = Slot(10)
    theirs = sent(slot, (10,))
    assert len(os.listdir("/proc/self/fd")) > before
    del slot, theirs
    assert len(os.listdir("/proc/self/fd")) == before


def drop_inherited(arrays, queue):
    arrays.clear()
    queue.put(True)


def test_a_forked_child_that_drops_its_copy_frees_nothing():
    slot = Slot(4)
    arrays = [sent(slot, (4,))]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=drop_inherited, args=(arrays, queue))
    child.start()
    assert queue.get()
    child.join()
    assert not slot.is_free
    arrays.clear()
    assert slot.is_free


def test_each_process_has_its_own_pool():
    assert process_pool("flow") is process_pool("flow")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(pool_id) != id(process_pool("flow"))


def pool_id():
    return id(process_pool("flow"))


def test_who_holds_very_many_gets_copies_and_the_slots_are_free_at_once():
    before = len(_HELD)
    kept, slots = [], []
    for number in range(MAX_HELD + 3 - before):
        slots.append(Slot(4))
        array = slots[-1].lend((4,), UINT8)
        array[:] = number % 251
        del array
        kept.append(sent(slots[-1], (4,)))
    assert [slot.is_free for slot in slots[-4:]] == [False, True, True, True]
    assert [int(array[0]) for array in kept] == [number % 251 for number in range(len(kept))]
    kept.clear()
    assert all(slot.is_free for slot in slots)
    assert len(_HELD) == before


def test_more_memory_than_there_is_raises_before_a_write_into_it_crashes():
    with pytest.raises(OSError, match=r"Cannot allocate memory|File too large|No space left"):
        Slot(2**60)


def add_one(numbers, row):
    numbers.values[row] += 1


@pytest.mark.system
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind_see_the_same_numbers(method):
    context = multiprocessing.get_context(method)
    numbers = SharedNumbers(3)
    numbers.values[:] = 5, 6, 7
    for row in (0, 1, 0):
        child = context.Process(target=add_one, args=(numbers, row))
        child.start()
        child.join()
        assert child.exitcode == 0
    assert numbers.values.tolist() == [7, 7, 7]
    copied = pickle.loads(pickle.dumps(numbers))
    copied.values[0] = 0
    assert numbers.values[0] == 7


def test_numbers_hold_no_descriptor():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors are counted in /proc, which this system does not have")
    before = len(os.listdir("/proc/self/fd"))
    kept = [SharedNumbers(10) for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == before
    del kept
