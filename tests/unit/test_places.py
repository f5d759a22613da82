"""Who gets which worker next."""

import asyncio

from hilnas.executors.places import Places


def in_order(workers, asked, may_start=lambda: True):
    """Return the names of what was asked for, (name, urgent, alone), in the order in which it began."""
    begun = []

    async def main():
        places = Places(range(workers), may_start)

        async def work(name, urgent, alone):
            worker = await places.take(urgent, alone)
            begun.append((name, places.busy))
            await asyncio.sleep(0.01)
            places.give_back(worker)

        await asyncio.gather(*(work(*each) for each in asked))
        assert places.busy == 0

    asyncio.run(main())
    return begun


def test_urgent_work_goes_first_and_the_rest_in_its_order():
    asked = [("a", False, False), ("b", False, False), ("c", True, False), ("d", True, False)]
    assert [name for name, _ in in_order(1, asked)] == ["a", "c", "d", "b"]


def test_work_that_must_be_alone_goes_next_and_is_alone():
    asked = [("a", False, False), ("b", False, False), ("c", True, False), ("alone", False, True)]
    begun = in_order(2, asked)
    assert [name for name, _ in begun][:3] == ["a", "b", "alone"]
    assert dict(begun)["alone"] == 1
    assert dict(begun)["c"] == 1


def test_where_nothing_may_start_one_at_a_time_does():
    begun = in_order(3, [(str(n), False, False) for n in range(4)], lambda: False)
    assert begun == [(str(n), 1) for n in range(4)]


def test_who_no_longer_waits_gets_nothing():
    async def main():
        places = Places(["only"], lambda: True)
        worker = await places.take()
        gone, other = (asyncio.ensure_future(places.take()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        places.give_back(worker)
        assert await other == "only"
        late = asyncio.ensure_future(places.take())
        await asyncio.sleep(0)
        places.give_back("only")
        late.cancel()  # it was given a place, and never learned of it
        await asyncio.gather(late, return_exceptions=True)
        assert await places.take() == "only"

    asyncio.run(main())
