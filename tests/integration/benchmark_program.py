"""Stands in for TFLite's benchmark_model on the lab's phone: it loads and runs the model for real, by the
phone's own runtime, and prints in benchmark_model's form. `write` makes a program of it."""

import hashlib
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import os, resource, sys, time
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
print("INFO: STARTING!", flush=True)
from ai_edge_litert.interpreter import Interpreter, OpResolverType
now = lambda: time.perf_counter_ns() // 1000
xnnpack = flags["use_xnnpack"] == "true"
options = {{}} if xnnpack else {{
    "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}}
start = now()
try:
    model = Interpreter(model_path=flags["graph"], num_threads=int(flags["num_threads"]), **options)
    model.allocate_tensors()
except (ValueError, RuntimeError) as error:
    print("ERROR:", error, file=sys.stderr)
    print("ERROR: Failed to construct interpreter", file=sys.stderr)
    print("ERROR: Benchmarking failed.", file=sys.stderr)
    sys.exit(1)
init = now() - start
if xnnpack:
    print("INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the "
          "delegate.")
print("INFO: The input model file size (MB): %g" % (os.path.getsize(flags["graph"]) / 1e6))
print("INFO: Initialized session in %gms." % (init / 1000))
def run(least, least_s, most_s):
    times, began = [], time.perf_counter()
    while (len(times) < least or time.perf_counter() - began < least_s) and time.perf_counter() - began <= most_s:
        start = now()
        model.invoke()
        times.append(max(1, now() - start))
    ordered, n = sorted(times), len(times)
    mean = sum(times) / n
    if ordered[0] == ordered[-1]:
        line = "count=%d curr=%d%s" % (n, times[-1], "(all same)" if n > 1 else "")
    else:
        std = (sum((t - mean) ** 2 for t in times) / n) ** 0.5
        line = "count=%d first=%d curr=%d min=%d max=%d avg=%g std=%d" % (
            n, times[0], times[-1], ordered[0], ordered[-1], mean, std)
    print("INFO: %s p5=%d median=%d p95=%d\\n" % (line, ordered[n * 5 // 100], ordered[n // 2], ordered[n * 95 // 100]))
    return times[0], mean
most_s = float(flags["max_secs"])
first, warm = run(int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), most_s)
_, mean = run(int(flags["num_runs"]), float(flags["min_secs"]), most_s)
print("INFO: Inference timings in us: Init: %d, First inference: %d, Warmup (avg): %g, Inference (avg): %g"
      % (init, first, warm, mean))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if flags["report_peak_memory_footprint"] == "true":
    print("INFO: Overall peak memory footprint (MB) via periodic monitoring: %g" % peak)
sys.stdout.flush()
os._exit(0)
"""


def write(folder: Path) -> tuple[Path, str]:
    """Path and SHA-256 of the program."""
    path = folder / "benchmark_model"
    path.write_text(_PROGRAM.format(python=sys.executable))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
