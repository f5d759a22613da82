from hypothesis import given
from hypothesis import strategies as st

from hilnas.farm.scheduler import Free, Waiting, assign

PI, PHONE = Free("pi", "board"), Free("phone", "handset")
TWIN = Free("twin", "board")
NAMES = st.sampled_from(["a", "b", "c", ""])
FREE = st.lists(st.builds(Free, st.sampled_from("abc"), st.just("k")), max_size=3, unique_by=lambda d: d.name)
JOBS = st.lists(
    st.builds(Waiting, st.uuids().map(str), st.just("k"), st.frozensets(st.sampled_from("abc")), NAMES, NAMES),
    max_size=6,
)  # fmt: skip


def test_first_come_first_served_within_a_class():
    jobs = [Waiting("1", "board"), Waiting("2", "board"), Waiting("3", "handset")]
    assert assign(jobs, [PI, PHONE], [PI, PHONE]) == [("1", "pi"), ("3", "phone")]


def test_a_named_device_is_waited_for():
    assert assign([Waiting("1", "board", device="twin")], [PI], [PI]) == []
    assert assign([Waiting("1", "board", device="twin")], [PI, TWIN], [PI, TWIN]) == [("1", "twin")]


def test_a_preferred_device_is_waited_for_while_it_is_there():
    job = Waiting("1", "board", prefer="twin")
    assert assign([job], [PI], [PI, TWIN]) == []
    assert assign([job], [PI], [PI]) == [("1", "pi")]
    failed = Waiting("1", "board", frozenset({"twin"}), prefer="twin")
    assert assign([failed], [PI], [PI, TWIN]) == [("1", "pi")]


@given(JOBS, FREE, FREE)
def test_no_device_has_two_jobs_and_no_job_two_devices(jobs, free, busy):
    known = [*free, *(device for device in busy if device.name not in {f.name for f in free})]
    pairs = assign(jobs, free, known)
    assert len({job for job, _ in pairs}) == len({name for _, name in pairs}) == len(pairs)
    named = {job.job_id: job.device for job in jobs}
    assert all(named[job] in ("", name) for job, name in pairs)
