import math

from hypothesis import given
from hypothesis import strategies as st

from hilnas.farm.scheduler import Free, Waiting, assign
from hilnas.search.schedule import Window, overdue_after_s


def drive(in_flight, group, count, final_at, overdue_at):
    """Run a window over steps of time; yield (proposals made, numbers of a group) for each group."""
    window, proposed, step = Window(in_flight, group), 0, 0
    while proposed < count:
        while True:
            learned = window.next_group(
                lambda n, now=step: final_at(n) <= now, lambda n, now=step: overdue_at(n) <= now
            )
            if learned is None:
                break
            if learned:
                yield proposed, learned, window
                window.remove(learned)
            elif proposed < count:
                window.add(proposed)
                proposed += 1
            else:
                break
        step += 1


@given(st.integers(1, 80), st.integers(1, 16), st.data())
def test_without_stragglers_learning_follows_from_numbers_alone(count, in_flight, data):
    group = data.draw(st.integers(1, in_flight))
    delays = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    groups = list(drive(in_flight, group, count, lambda n: n + delays[n], lambda n: 10**9))
    for place, (proposed, learned, _) in enumerate(groups):
        assert learned == list(range(place * group, (place + 1) * group))
        assert proposed == place * group + in_flight


@given(st.integers(1, 80), st.integers(1, 16), st.data())
def test_a_straggler_is_passed_over_and_learned_from_when_it_ends(count, in_flight, data):
    group = data.draw(st.integers(1, in_flight))
    lazy = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 4))
    ends = {n: n + data.draw(st.integers(20, 60)) for n in lazy}
    seen = []
    for proposed, learned, window in drive(
        in_flight, group, count, lambda n: ends.get(n, n), lambda n: n + 3
    ):
        assert learned == sorted(learned)
        assert set(learned) <= set(window.unobserved)
        assert len(window.unobserved) <= 2 * in_flight
        assert max(learned) < proposed
        seen += learned
    assert len(seen) == len(set(seen))
    on_time = [n for n in seen if n not in lazy]
    assert on_time == sorted(on_time), "those that are on time are learned from in the order of proposal"


def test_one_straggler_does_not_hold_up_the_others():
    groups = list(drive(4, 2, 40, lambda n: 10**6 if n == 5 else n, lambda n: n + 3))
    assert [n for _, learned, _ in groups for n in learned] == [n for n in range(37) if n != 5]


def test_overdue_is_a_matter_of_the_others():
    assert overdue_after_s([1.0] * 4, 3.0) == math.inf
    assert overdue_after_s([1.0] * 5, 3.0) == 30.0
    assert overdue_after_s([100.0, 90.0, 110.0, 5.0, 2000.0], 3.0) == 300.0


def test_a_window_is_rebuilt_from_what_was_observed():
    window = Window(6, 2)
    for number in range(6):
        window.add(number)
    window.remove([0, 2])
    assert window.unobserved == [1, 3, 4, 5]
    assert window.next_group(lambda n: n in (1, 3, 4), lambda n: False) == []
    window.add(6)
    window.add(7)
    window.add(8)
    assert window.next_group(lambda n: n in (1, 3, 4), lambda n: False) == [1, 3, 4]


names = st.sampled_from("abcdef")
classes = st.sampled_from(["pi", "phone"])


@given(
    st.lists(st.tuples(classes, st.frozensets(names)), max_size=6),
    st.dictionaries(names, st.tuples(classes, st.booleans())),
)
def test_assignments_are_fair_and_never_double(jobs, devices):
    waiting = [Waiting(str(n), device_class, avoid) for n, (device_class, avoid) in enumerate(jobs)]
    known = [Free(name, device_class) for name, (device_class, _) in devices.items()]
    free = [device for device in known if devices[device.name][1]]
    pairs = assign(waiting, free, known)
    by_name = {device.name: device for device in free}
    assert len({job for job, _ in pairs}) == len({device for _, device in pairs}) == len(pairs)
    for job_id, name in pairs:
        job = waiting[int(job_id)]
        assert by_name[name].device_class == job.device_class
        others = {d.name for d in known if d.device_class == job.device_class} - job.avoid
        assert name not in job.avoid or not others
    left = {device.name for device in free} - {name for _, name in pairs}
    for job in waiting:
        if job.job_id not in {job_id for job_id, _ in pairs}:
            everyone = {d.name for d in known if d.device_class == job.device_class}
            avoid = job.avoid if everyone - job.avoid else frozenset()
            assert not (everyone & left) - avoid


def test_first_come_first_served():
    waiting = [Waiting("late", "phone"), Waiting("one", "pi"), Waiting("two", "pi")]
    assert assign(waiting, [Free("a", "pi")], [Free("a", "pi")]) == [("one", "a")]
