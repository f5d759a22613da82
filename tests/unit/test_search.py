from hypothesis import given
from hypothesis import strategies as st

from hilnas.farm.scheduler import Free, Waiting, assign
from hilnas.search.schedule import observed_before


@given(st.integers(0, 500), st.integers(1, 64), st.data())
def test_the_window_is_kept_and_grows_in_whole_groups(number, in_flight, data):
    group = data.draw(st.integers(1, in_flight))
    observed = observed_before(number, in_flight, group)
    assert observed % group == 0
    assert observed <= number
    assert number - observed < in_flight
    if number >= in_flight:
        assert number - observed >= in_flight - group
    assert observed <= observed_before(number + 1, in_flight, group)


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
