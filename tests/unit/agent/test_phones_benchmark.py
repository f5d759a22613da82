"""What benchmark_model prints, whole, torn and hostile; and how it is called."""

import pytest

from hilnas_agent.phones import benchmark
from hilnas_agent.phones.adb import Finished
from hilnas_agent.phones.benchmark import Invocation, NotUnderstoodError, parse

NEW = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [1]
INFO: Graph: [/data/local/tmp/hilnas/m.tflite]
INFO: Loaded model /data/local/tmp/hilnas/m.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: XNNPACK delegate created.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 2 delegate kernels.
INFO: The input model file size (MB): 4.27635
INFO: Initialized session in 3.337ms.
INFO: Running benchmark for at least 20 iterations and at least 0.1 seconds but terminate if exceeding 60 seconds.
INFO: count=20 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115 p5=55502 median=56100 p95=81913

INFO: Running benchmark for at least 1 iterations and at least 0.2 seconds but terminate if exceeding 60 seconds.
INFO: count=1061 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982 p5=54900 median=56190 p95=58010

INFO: Inference timings in us: Init: 3337, First inference: 81913, Warmup (avg): 58984.7, Inference (avg): 56265.8
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=2.43359 overall=8.67578
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383
INFO: Memory status at the end of exeution:
INFO: - VmRSS              : 93 MB
"""
OLD = """STARTING!
Loaded model /data/local/tmp/m.tflite
The input model file size (MB): 0.3
Initialized session in 1.2ms.
Running benchmark for at least 1 iterations and at least 0.1 seconds but terminate if exceeding 60 seconds.
count=1 curr=830

Running benchmark for at least 1 iterations and at least 0.2 seconds but terminate if exceeding 60 seconds.
count=12 curr=41(all same)

Inference timings in us: Init: 1200, First inference: 830, Warmup (avg): 830, Inference (avg): 41
"""
ASKED = Invocation(
    threads=2, xnnpack=False, warmup_runs=20, warmup_s=0.1, stretch_s=0.2, most_s=30, memory=True
)


def test_the_output_of_a_new_release():
    report = parse(NEW)
    assert (report.init_us, report.first_us) == (3337, 81913)
    assert (report.warmup.count, report.runs.count) == (20, 1061)
    assert (report.delegate, report.partitions) == ("xnnpack", 2)
    assert report.peak_mib == 93.2383
    assert report.sample_us == 56190
    assert report.spent_ms == pytest.approx(3.337 + 20 * 58.9847 + 1061 * 56.2658)


def test_the_output_of_an_old_release():
    report = parse(OLD)
    assert report.runs == benchmark.Stat(12, 41.0, None)
    assert (report.delegate, report.partitions, report.peak_mib) == ("", 0, None)
    assert report.sample_us == 41


def test_a_median_in_whole_microseconds_is_too_coarse_for_a_short_inference():
    short = NEW.replace("min=54669 max=60236 avg=56265.8", "min=40 max=90 avg=41.2345").replace(
        "Inference (avg): 56265.8", "Inference (avg): 41.2345"
    )
    assert parse(short.replace("median=56190", "median=41")).sample_us == 41.2345


def test_a_whole_graph_on_the_delegate():
    whole = NEW.replace(
        "partially executed by the delegate w/ 2 delegate kernels", "completely executed by the delegate"
    )
    assert (parse(whole).delegate, parse(whole).partitions) == ("xnnpack", 1)


@pytest.mark.parametrize("text", [NEW, OLD], ids=["new", "old"])
def test_torn_output_is_an_error_and_never_a_number(text):
    whole = parse(text)
    last = text.index("Inference (avg)") + len("Inference (avg): ")
    for end in [*range(0, last, 13), last]:
        with pytest.raises(NotUnderstoodError):
            parse(text[:end])
    for end in range(last + 1, len(text)):
        try:
            torn = parse(text[:end])
        except NotUnderstoodError:
            continue
        assert (torn.sample_us, torn.runs) == (whole.sample_us, whole.runs)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("avg=56265.8", "avg=nan"),
        ("avg=56265.8", "avg=inf"),
        ("avg=56265.8", "avg=-56265.8"),
        ("avg=56265.8", "avg=1e999"),
        ("avg=56265.8", "avg=46265.8"),
        ("count=1061", "count=0"),
        ("min=54669 max=60236", "min=57000 max=60236"),
        ("min=54669 max=60236", "min=54669 max=55000"),
        ("Inference (avg): 56265.8", "Inference (avg): 56.2658"),
        ("Init: 3337", "Init: 3337ms"),
        ("INFO: count=1061", "INFO: count=1061 first=1 curr=1\nINFO: count=1061"),
        ("INFO: count=1061", "INFO: gauge=1061"),
        ("Inference timings in us", "Inference timings in ns"),
    ],
)
def test_output_that_cannot_be(old, new):
    assert old in NEW
    with pytest.raises(NotUnderstoodError):
        parse(NEW.replace(old, new))


def test_what_is_not_understood_is_quoted():
    with pytest.raises(NotUnderstoodError, match="linker: cannot find libc"):
        parse("x\n" * 1000 + "linker: cannot find libc\n")


def test_the_command_pins_and_passes_every_setting():
    command = benchmark.command("/d/bench", "/d/it's.tflite", [6, 7], ASKED)
    assert "exec taskset c0 /d/bench " in command
    assert "--graph=/d/it'\"'\"'s.tflite" in command
    for flag in (
        "--num_threads=2", "--min_secs=0.200", "--max_secs=30.000", "--warmup_runs=20", "--warmup_min_secs=0.100",
        "--use_xnnpack=false", "--report_peak_memory_footprint=true", "--enable_op_profiling=false",
    ):  # fmt: skip
        assert flag in command
    assert "cpu6/cpufreq/scaling_cur_freq" in command


def test_frequencies_are_taken_from_lines_of_their_own():
    assert benchmark.frequencies_khz("hilnas-khz 2802000\nERROR: hilnas-khz 5\nhilnas-khz x\n") == [2802000]


def failure(code, err="", timed_out=False):
    return benchmark.failure(Finished(code, b"INFO: STARTING!\n", err.encode(), timed_out), 500)


@pytest.mark.parametrize(
    ("code", "err", "verdict", "words"),
    [
        (1, "ERROR: Encountered unresolved custom op: X.\nERROR: Failed to initialize the interpreter", "UNSUPPORTED_OP", "X"),
        (1, "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '99'", "UNSUPPORTED_OP", "99"),
        (1, "ERROR: Failed to load model /d/m.tflite", "INVALID_MODEL", "m.tflite"),
        (1, "ERROR: The model is not a valid Flatbuffer buffer", "INVALID_MODEL", "Flatbuffer"),
        (1, "terminate called after throwing an instance of 'std::bad_alloc'", "OUT_OF_MEMORY", "bad_alloc"),
        (1, "ERROR: Node number 3 (CONV_2D) failed to invoke.", "CRASHED", "failed to invoke"),
        (139, "Segmentation fault", "CRASHED", "SIGSEGV"),
        (137, "", "OUT_OF_MEMORY", "SIGKILL"),
        (126, "sh: not executable: 64-bit ELF file", "DEVICE_FAULT", "cpu.abi"),
        (127, "taskset: exec failed", "DEVICE_FAULT", "cpu.abi"),
    ],
)  # fmt: skip
def test_failures_are_told_apart(code, err, verdict, words):
    found, message = failure(code, err + "\nhilnas-khz 1800000\n")
    assert found == verdict
    assert words in message
    assert "hilnas-khz" not in message


def test_a_deadline_and_no_failure():
    assert failure(-1, timed_out=True)[0] == "TIMEOUT"
    assert failure(0) is None
