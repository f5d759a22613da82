from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_TRUSTED: _ClassVar[Verdict]
    VERDICT_UNSTABLE: _ClassVar[Verdict]
    VERDICT_CRASHED: _ClassVar[Verdict]
    VERDICT_TIMEOUT: _ClassVar[Verdict]
    VERDICT_OUT_OF_MEMORY: _ClassVar[Verdict]
    VERDICT_UNSUPPORTED_OP: _ClassVar[Verdict]
    VERDICT_INVALID_MODEL: _ClassVar[Verdict]
    VERDICT_DEVICE_FAULT: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_TRUSTED: Verdict
VERDICT_UNSTABLE: Verdict
VERDICT_CRASHED: Verdict
VERDICT_TIMEOUT: Verdict
VERDICT_OUT_OF_MEMORY: Verdict
VERDICT_UNSUPPORTED_OP: Verdict
VERDICT_INVALID_MODEL: Verdict
VERDICT_DEVICE_FAULT: Verdict

class Artifact(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class RuntimeSpec(_message.Message):
    __slots__ = ("name", "version", "threads", "delegate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    DELEGATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    threads: int
    delegate: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., threads: _Optional[int] = ..., delegate: _Optional[str] = ...) -> None: ...

class MeasurementProtocol(_message.Message):
    __slots__ = ("warmup_runs", "warmup_ms", "min_samples", "min_sample_ms", "min_sampling_ms", "max_sampling_ms", "confidence", "bootstrap_resamples", "max_half_width")
    WARMUP_RUNS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLE_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLING_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLING_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_HALF_WIDTH_FIELD_NUMBER: _ClassVar[int]
    warmup_runs: int
    warmup_ms: int
    min_samples: int
    min_sample_ms: float
    min_sampling_ms: int
    max_sampling_ms: int
    confidence: float
    bootstrap_resamples: int
    max_half_width: float
    def __init__(self, warmup_runs: _Optional[int] = ..., warmup_ms: _Optional[int] = ..., min_samples: _Optional[int] = ..., min_sample_ms: _Optional[float] = ..., min_sampling_ms: _Optional[int] = ..., max_sampling_ms: _Optional[int] = ..., confidence: _Optional[float] = ..., bootstrap_resamples: _Optional[int] = ..., max_half_width: _Optional[float] = ...) -> None: ...

class WorkerLimits(_message.Message):
    __slots__ = ("deadline_ms", "address_space_mib")
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_SPACE_MIB_FIELD_NUMBER: _ClassVar[int]
    deadline_ms: int
    address_space_mib: int
    def __init__(self, deadline_ms: _Optional[int] = ..., address_space_mib: _Optional[int] = ...) -> None: ...

class MeasureJob(_message.Message):
    __slots__ = ("job_id", "attempt", "fence", "model", "runtime", "protocol", "protocol_hash", "limits", "input_seed")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_HASH_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SEED_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    fence: int
    model: Artifact
    runtime: RuntimeSpec
    protocol: MeasurementProtocol
    protocol_hash: str
    limits: WorkerLimits
    input_seed: int
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., model: _Optional[_Union[Artifact, _Mapping]] = ..., runtime: _Optional[_Union[RuntimeSpec, _Mapping]] = ..., protocol: _Optional[_Union[MeasurementProtocol, _Mapping]] = ..., protocol_hash: _Optional[str] = ..., limits: _Optional[_Union[WorkerLimits, _Mapping]] = ..., input_seed: _Optional[int] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("median_ms", "low_ms", "high_ms", "p5_ms", "p90_ms", "p95_ms", "mad_ms", "load_ms", "first_ms", "inner_loops", "samples_ns")
    MEDIAN_MS_FIELD_NUMBER: _ClassVar[int]
    LOW_MS_FIELD_NUMBER: _ClassVar[int]
    HIGH_MS_FIELD_NUMBER: _ClassVar[int]
    P5_MS_FIELD_NUMBER: _ClassVar[int]
    P90_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    MAD_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    INNER_LOOPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_NS_FIELD_NUMBER: _ClassVar[int]
    median_ms: float
    low_ms: float
    high_ms: float
    p5_ms: float
    p90_ms: float
    p95_ms: float
    mad_ms: float
    load_ms: float
    first_ms: float
    inner_loops: int
    samples_ns: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, median_ms: _Optional[float] = ..., low_ms: _Optional[float] = ..., high_ms: _Optional[float] = ..., p5_ms: _Optional[float] = ..., p90_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., mad_ms: _Optional[float] = ..., load_ms: _Optional[float] = ..., first_ms: _Optional[float] = ..., inner_loops: _Optional[int] = ..., samples_ns: _Optional[_Iterable[int]] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("baseline_kib", "load_peak_kib", "run_peak_kib")
    BASELINE_KIB_FIELD_NUMBER: _ClassVar[int]
    LOAD_PEAK_KIB_FIELD_NUMBER: _ClassVar[int]
    RUN_PEAK_KIB_FIELD_NUMBER: _ClassVar[int]
    baseline_kib: int
    load_peak_kib: int
    run_peak_kib: int
    def __init__(self, baseline_kib: _Optional[int] = ..., load_peak_kib: _Optional[int] = ..., run_peak_kib: _Optional[int] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("temperature_before_c", "temperature_after_c", "governor", "frequency_khz", "load_average", "involuntary_switches")
    TEMPERATURE_BEFORE_C_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_AFTER_C_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_KHZ_FIELD_NUMBER: _ClassVar[int]
    LOAD_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    INVOLUNTARY_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    temperature_before_c: float
    temperature_after_c: float
    governor: str
    frequency_khz: int
    load_average: float
    involuntary_switches: int
    def __init__(self, temperature_before_c: _Optional[float] = ..., temperature_after_c: _Optional[float] = ..., governor: _Optional[str] = ..., frequency_khz: _Optional[int] = ..., load_average: _Optional[float] = ..., involuntary_switches: _Optional[int] = ...) -> None: ...

class MeasureResult(_message.Message):
    __slots__ = ("job_id", "attempt", "fence", "model_sha256", "protocol_hash", "verdict", "message", "runtime", "latency", "memory", "conditions", "started_unix_ms", "total_ms", "fetch_ms", "measuring_ms")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_HASH_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    FETCH_MS_FIELD_NUMBER: _ClassVar[int]
    MEASURING_MS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    fence: int
    model_sha256: str
    protocol_hash: str
    verdict: Verdict
    message: str
    runtime: RuntimeSpec
    latency: Latency
    memory: Memory
    conditions: Conditions
    started_unix_ms: int
    total_ms: float
    fetch_ms: float
    measuring_ms: float
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., model_sha256: _Optional[str] = ..., protocol_hash: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., message: _Optional[str] = ..., runtime: _Optional[_Union[RuntimeSpec, _Mapping]] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., started_unix_ms: _Optional[int] = ..., total_ms: _Optional[float] = ..., fetch_ms: _Optional[float] = ..., measuring_ms: _Optional[float] = ...) -> None: ...
