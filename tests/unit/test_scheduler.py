import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.farm.scheduler import Free, Waiting, assign
from hilnas.farm.shares import Asker, Priority, Shares

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


def test_a_device_that_somebody_waits_for_by_name_is_left_to_them():
    jobs = [Waiting("any", "board"), Waiting("twin's", "board", device="twin")]
    assert sorted(assign(jobs, [TWIN, PI], [TWIN, PI])) == [("any", "pi"), ("twin's", "twin")]


def test_a_search_goes_back_to_the_board_it_was_on():
    job = Waiting("1", "board", asker=Asker("mine"))
    devices = [PI, Free("twin", "board", last_search="mine")]
    assert assign([job], devices, devices) == [("1", "twin")]


def test_a_reserved_device_takes_its_owners_jobs_alone():
    mine = Free("pi", "board", reserved_for="ann")
    theirs, own = (
        Waiting("1", "board", asker=Asker(user="bob")),
        Waiting("2", "board", asker=Asker(user="ann")),
    )
    assert assign([theirs, own], [mine], [mine]) == [("2", "pi")]
    assert assign([own], [TWIN, mine], [TWIN, mine]) == [("2", "pi")], "the others are left to others"
    failed = Waiting("3", "board", frozenset({"twin"}), asker=Asker(user="bob"))
    assert assign([failed], [TWIN, mine], [TWIN, mine]) == [("3", "twin")], "no other may take it"


def test_a_higher_class_goes_first_whoever_had_more():
    low, high = Asker("a", "ann", Priority.LOW), Asker("b", "bob", Priority.HIGH)
    shares = Shares()
    shares.charge(high, 1000)
    jobs = [Waiting("1", "board", asker=low), Waiting("2", "board", asker=high)]
    assert assign(jobs, [PI], [PI], shares) == [("2", "pi")]


def test_who_was_away_has_saved_nothing_up():
    shares, early, late = Shares(), Asker("a", "ann"), Asker("b", "bob")
    shares.begin(early)
    shares.charge(early, 500)
    shares.begin(late)
    assert shares.turn(late)[1] == shares.turn(early)[1]
    shares.end(late)
    shares.charge(early, 500)
    shares.begin(late)
    assert shares.turn(late)[1] == 1000


def test_a_search_that_is_forgotten_leaves_nothing():
    shares, asker = Shares(), Asker("a", "ann")
    shares.begin(asker)
    shares.charge(asker, 5)
    shares.forget(asker)
    assert shares.turn(asker)[2] == 0


@pytest.mark.parametrize("weight", [0, -1, float("nan")])
def test_a_weight_is_above_nothing(weight):
    with pytest.raises(ValueError, match="weight"):
        Asker(weight=weight)


class World:
    """Devices and searches that always want more, in virtual time."""

    def __init__(self, devices, askers, weights, seed):
        self.devices = [Free(f"d{number}", "k") for number in range(devices)]
        self.askers, self.shares, self.rng = askers, Shares(weights), random.Random(seed)
        self.busy, self.had, self.longest_wait, self.now = {}, dict.fromkeys(askers, 0.0), 0, 0.0
        self.waiting, self.count, self.rounds = [], 0, 0
        for asker in askers:
            self.shares.begin(asker)

    def run(self, until):
        while self.now < until:
            for asker in self.askers:
                while sum(job.asker == asker for job in self.waiting) < len(self.devices):
                    self.count += 1
                    self.waiting.append(Waiting(str(self.count), "k", asker=asker))
            free = [device for device in self.devices if device.name not in self.busy]
            for job_id, name in assign(self.waiting, free, self.devices, self.shares):
                assert name not in self.busy, "a device has one job"
                (job,) = [job for job in self.waiting if job.job_id == job_id]
                self.waiting.remove(job)
                self.shares.charge(job.asker, job.expected_s)
                self.busy[name] = (self.now + self.rng.uniform(0.5, 8), self.now, job)
            assert len(self.busy) == len(self.devices), "work waits, and a device is idle"
            name = min(self.busy, key=lambda device: self.busy[device][0])
            self.now, since, job = self.busy.pop(name)
            self.shares.charge(job.asker, self.now - since - job.expected_s)
            self.had[job.asker] += self.now - since
        return self.had


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 6), st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=2, max_size=4), st.integers(0, 99)
)
def test_shares_converge_to_the_weights_of_users(devices, weights, seed):
    askers = [Asker(f"s{number}", f"u{number}") for number in range(len(weights))]
    had = World(devices, askers, {f"u{n}": weight for n, weight in enumerate(weights)}, seed).run(4000)
    total = sum(had.values())
    for asker, weight in zip(askers, weights, strict=True):
        assert had[asker] / total == pytest.approx(weight / sum(weights), rel=0.05)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4), st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=2, max_size=4), st.integers(0, 99)
)
def test_shares_converge_to_the_weights_of_a_users_searches(devices, weights, seed):
    askers = [Asker(f"s{n}", "ann", weight=weight) for n, weight in enumerate(weights)] + [Asker("t", "bob")]
    had = World(devices, askers, {}, seed).run(4000)
    total = sum(had.values())
    assert had[askers[-1]] / total == pytest.approx(0.5, rel=0.05), "users are equal, whatever their searches"
    for asker, weight in zip(askers[:-1], weights, strict=True):
        assert had[asker] / total == pytest.approx(0.5 * weight / sum(weights), rel=0.07)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uv")), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_nobody_of_a_class_starves(searches, devices):
    """Every job that waits is served within a bounded number of turns, however many others come."""
    askers = sorted({Asker(search, user) for search, user in searches}, key=str)
    shares, known = Shares(), [Free(f"d{n}", "k") for n in range(devices)]
    for asker in askers:
        shares.begin(asker)
    old = [Waiting(f"old {asker}", "k", asker=asker) for asker in askers]
    waiting, turns = list(old), 0
    while any(job in waiting for job in old):
        waiting += [Waiting(f"{turns} {asker}", "k", asker=asker) for asker in askers]
        for job_id, _ in assign(waiting, known, known, shares):
            (job,) = [job for job in waiting if job.job_id == job_id]
            waiting.remove(job)
            shares.charge(job.asker, 1)
        turns += 1
        assert turns <= 3 * len(askers) + 3


@given(JOBS, FREE)
def test_what_could_run_is_never_left_beside_an_idle_device(jobs, free):
    pairs = assign(jobs, free, free)
    idle = [device for device in free if device.name not in {name for _, name in pairs}]
    left = [job for job in jobs if job.job_id not in {job_id for job_id, _ in pairs}]
    for job in left:
        for device in idle:
            waits_for = job.prefer in {f.name for f in free} - job.avoid and job.device in ("", job.prefer)
            assert not job.may_run_on(device) or device.name in job.avoid or waits_for
