import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from hilnas_agent import __main__ as command
from hilnas_agent import runtimes
from hilnas_agent.channel import AddressError, is_local, open_channel
from hilnas_agent.outbox import Outbox
from hilnas_agent.session import Backoff, Epochs
from hilnas_protos.v1 import agent_pb2, measurement_pb2


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:7707",
        "localhost:1",
        "[::1]:7707",
        "127.9.9.9:5",
        "unix:/run/hilnas.sock",
        "unix-abstract:h",
    ],
)
def test_addresses_on_this_machine(address):
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.5:7707",
        "127.evil.example:7707",
        "host:7707",
        "127.0.0.1",
        "[::]:7707",
        "0.0.0.0:7707",
        "",
        ":7707",
    ],
)
def test_other_addresses_are_refused_with_the_remedy(address):
    assert not is_local(address)
    with pytest.raises(AddressError, match="ssh -R"):
        open_channel(address)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--host"),
        (["--host", "127.0.0.1:1", "--cpus", "a"], "list of processors"),
        (["--host", "127.0.0.1:1", "--cpus", "3-"], "list of processors"),
        (["--host", "127.0.0.1:1", "--cpus", "4000"], "may use"),
        (["--host", "127.0.0.1:1", "--cache-mib", "0"], "whole number above 0"),
        (["--host", "127.0.0.1:1", "--address-space-mib", "-5"], "--address-space-mib"),
        (["--host", "127.0.0.1:1", "--log-level", "loud"], "loud"),
    ],
)
def test_wrong_arguments_are_named(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_the_help_has_an_example_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for words in ("examples:", "HILNAS_TOKEN", "ssh -R", "exit codes", "--exit-with-parent"):
        assert words in text


def test_a_list_of_processors():
    here = sorted(os.sched_getaffinity(0))
    assert command.cpu_list(",".join(map(str, here))) == here
    assert command.cpu_list(f"{here[0]}-{here[0]}") == here[:1]


def _run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "hilnas_agent", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_far_host_ends_the_agent_with_the_remedy(tmp_path):
    done = _run("--host", "10.0.0.5:7707", "--cache-dir", str(tmp_path))
    assert done.returncode == command.UNUSABLE
    assert "ssh -R 7707:127.0.0.1:7707" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_ends_the_agent(tmp_path):
    (tmp_path / "file").write_text("")
    done = _run("--host", "127.0.0.1:1", "--cache-dir", str(tmp_path / "file" / "x"))
    assert done.returncode == command.UNUSABLE
    assert "--cache-dir" in done.stderr


def test_a_token_that_cannot_be_sent_is_not_shown(tmp_path):
    done = _run("--host", "127.0.0.1:1", "--cache-dir", str(tmp_path), HILNAS_TOKEN="secret\nline")
    assert done.returncode == command.UNUSABLE
    assert "HILNAS_TOKEN" in done.stderr
    assert "secret" not in done.stderr


def test_the_agents_own_modules_import_nothing_heavy():
    program = (
        "import sys; from hilnas_agent import lean; lean.import_grpc();"
        "import hilnas_agent.session, hilnas_agent.runner, hilnas_agent.__main__;"
        "print([m for m in ('numpy', 'ai_edge_litert', 'tflite_runtime', 'hilnas', 'ssl', 'email')"
        " if m in sys.modules]); import ssl, hashlib; print(hashlib.sha256(b'').hexdigest()[:8])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "e3b0c442"]


def test_pauses_double_up_to_ten_seconds_and_are_jittered():
    low, high = Backoff(lambda a, b: a), Backoff(lambda a, b: b)
    assert [high.pause() for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert [low.pause() for _ in range(3)] == [0.1, 0.2, 0.4]
    high.reset()
    assert high.pause() == 0.2


def test_epochs_grow_over_restarts_and_over_a_clock_that_went_back(tmp_path):
    path = tmp_path / "epoch"
    first = Epochs(path, lambda: 1000)
    seen = [first.next(), first.next()]
    seen.append(Epochs(path, lambda: 10).next())
    seen.append(Epochs(path, lambda: 5000).next())
    path.write_text("torn?")
    later = Epochs(path, time.time_ns)
    seen += [later.next(), later.next()]
    assert seen == sorted(set(seen))
    assert seen[0] == 1000


def test_an_epoch_that_cannot_be_kept_still_grows(tmp_path):
    epochs = Epochs(tmp_path / "gone" / "epoch", lambda: 7)
    assert epochs.next() < epochs.next()


@dataclass
class _Clock:
    now: float = 0.0

    def __call__(self):
        return self.now


def _result(job_id):
    return measurement_pb2.MeasureResult(job_id=job_id)


def _taken(outbox, stream):
    message = outbox.take(stream, 0)
    return message and message.measure_result.job_id


def test_results_wait_for_the_welcome_and_go_in_order():
    outbox = Outbox()
    stream = outbox.new_stream()
    outbox.put(_result("a"))
    outbox.put(_result("b"))
    assert _taken(outbox, stream) is None
    assert [job for job, *_ in outbox.undelivered()] == ["a", "b"]
    outbox.welcome()
    assert [_taken(outbox, stream) for _ in range(3)] == ["a", "b", None]


def test_results_sent_shortly_before_a_break_are_sent_again():
    clock = _Clock()
    outbox = Outbox(clock)
    stream = outbox.new_stream()
    outbox.welcome()
    for job_id, at in (("long ago", 0), ("a", 95), ("b", 99)):
        clock.now = at
        outbox.put(_result(job_id))
        assert _taken(outbox, stream) == job_id
    outbox.put(_result("unsent"))
    clock.now = 100
    outbox.broken()
    assert [job for job, *_ in outbox.undelivered()] == ["a", "b", "unsent"]
    stream = outbox.new_stream()
    outbox.welcome()
    assert [_taken(outbox, stream) for _ in range(4)] == ["a", "b", "unsent", None]


def test_a_late_reader_of_an_old_stream_gets_nothing():
    outbox = Outbox()
    old = outbox.new_stream()
    outbox.welcome()
    outbox.broken()
    outbox.new_stream()
    outbox.put(_result("a"))
    outbox.welcome()
    with pytest.raises(EOFError):
        outbox.take(old, 0)
    assert [job for job, *_ in outbox.undelivered()] == ["a"]


def test_notes_are_dropped_without_a_stream_and_with_it():
    outbox = Outbox()
    note = agent_pb2.ConnectRequest(job_started=agent_pb2.JobStarted(job_id="a"))
    outbox.note(note)
    stream = outbox.new_stream()
    outbox.welcome()
    assert outbox.take(stream, 0) is None
    outbox.note(note)
    outbox.broken()
    stream = outbox.new_stream()
    outbox.welcome()
    assert outbox.take(stream, 0) is None


def test_a_stream_that_is_to_end_ends_when_all_is_out():
    outbox = Outbox()
    stream = outbox.new_stream()
    outbox.welcome()
    outbox.put(_result("a"))
    outbox.finish()
    assert _taken(outbox, stream) == "a"
    with pytest.raises(EOFError):
        outbox.take(stream, 0)


def test_no_more_results_are_kept_than_there_is_room_for():
    outbox = Outbox()
    for number in range(70):
        outbox.put(_result(str(number)))
    assert [job for job, *_ in outbox.undelivered()] == [str(number) for number in range(6, 70)]


class Unusable:
    name, xnnpack_int8 = "unusable", False

    def problem(self):
        return "it is Tuesday"


def test_runtimes_are_found_and_ordered():
    offers, reasons = runtimes.discover()
    assert [offer.name for offer in offers] == ["ai-edge-litert", "tflite-runtime"]
    assert [offer.xnnpack_int8 for offer in offers] == [True, False]
    assert reasons == []


def test_runtimes_named_by_path_come_first_and_bad_ones_are_explained():
    extra = [
        "tests.unit.agent.misbehaving:Hang",
        f"{__name__}:Unusable",
        "no.such.module:Class",
        "hilnas_agent.runtimes.litert:Nothing",
        "no colon",
    ]
    offers, reasons = runtimes.discover(extra)
    assert [offer.name for offer in offers] == ["misbehaving", "ai-edge-litert", "tflite-runtime"]
    assert len(reasons) == 4
    assert any("Tuesday" in reason for reason in reasons)
    assert any("package.module:Class" in reason for reason in reasons)
