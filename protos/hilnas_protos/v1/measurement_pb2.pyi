from hilnas_protos.v1 import energy_pb2 as _energy_pb2
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
    VERDICT_DEFERRED_HOT: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_TRUSTED: Verdict
VERDICT_UNSTABLE: Verdict
VERDICT_CRASHED: Verdict
VERDICT_TIMEOUT: Verdict
VERDICT_OUT_OF_MEMORY: Verdict
VERDICT_UNSUPPORTED_OP: Verdict
VERDICT_INVALID_MODEL: Verdict
VERDICT_DEVICE_FAULT: Verdict
VERDICT_DEFERRED_HOT: Verdict

class Artifact(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class RuntimeSpec(_message.Message):
    __slots__ = ("name", "version", "threads", "delegate", "nodes", "delegated_nodes", "partitions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    DELEGATE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DELEGATED_NODES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    threads: int
    delegate: str
    nodes: int
    delegated_nodes: int
    partitions: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., threads: _Optional[int] = ..., delegate: _Optional[str] = ..., nodes: _Optional[int] = ..., delegated_nodes: _Optional[int] = ..., partitions: _Optional[int] = ...) -> None: ...

class MeasurementProtocol(_message.Message):
    __slots__ = ("warmup_runs", "warmup_ms", "min_samples", "min_sample_ms", "min_sampling_ms", "max_sampling_ms", "confidence", "bootstrap_resamples", "max_half_width", "max_warmup_ms", "floor_samples", "rules", "preflight")
    WARMUP_RUNS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLE_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_SAMPLING_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLING_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_HALF_WIDTH_FIELD_NUMBER: _ClassVar[int]
    MAX_WARMUP_MS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    warmup_runs: int
    warmup_ms: int
    min_samples: int
    min_sample_ms: float
    min_sampling_ms: int
    max_sampling_ms: int
    confidence: float
    bootstrap_resamples: int
    max_half_width: float
    max_warmup_ms: int
    floor_samples: int
    rules: SessionRules
    preflight: Preflight
    def __init__(self, warmup_runs: _Optional[int] = ..., warmup_ms: _Optional[int] = ..., min_samples: _Optional[int] = ..., min_sample_ms: _Optional[float] = ..., min_sampling_ms: _Optional[int] = ..., max_sampling_ms: _Optional[int] = ..., confidence: _Optional[float] = ..., bootstrap_resamples: _Optional[int] = ..., max_half_width: _Optional[float] = ..., max_warmup_ms: _Optional[int] = ..., floor_samples: _Optional[int] = ..., rules: _Optional[_Union[SessionRules, _Mapping]] = ..., preflight: _Optional[_Union[Preflight, _Mapping]] = ...) -> None: ...

class SessionRules(_message.Message):
    __slots__ = ("max_temperature_rise_c", "min_frequency_share", "max_switches_per_sample", "max_major_faults", "max_drift", "max_mad_share", "max_outlier_share", "max_neighbour_load", "max_slowdown")
    MAX_TEMPERATURE_RISE_C_FIELD_NUMBER: _ClassVar[int]
    MIN_FREQUENCY_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_SWITCHES_PER_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    MAX_MAJOR_FAULTS_FIELD_NUMBER: _ClassVar[int]
    MAX_DRIFT_FIELD_NUMBER: _ClassVar[int]
    MAX_MAD_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTLIER_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_NEIGHBOUR_LOAD_FIELD_NUMBER: _ClassVar[int]
    MAX_SLOWDOWN_FIELD_NUMBER: _ClassVar[int]
    max_temperature_rise_c: float
    min_frequency_share: float
    max_switches_per_sample: float
    max_major_faults: int
    max_drift: float
    max_mad_share: float
    max_outlier_share: float
    max_neighbour_load: float
    max_slowdown: float
    def __init__(self, max_temperature_rise_c: _Optional[float] = ..., min_frequency_share: _Optional[float] = ..., max_switches_per_sample: _Optional[float] = ..., max_major_faults: _Optional[int] = ..., max_drift: _Optional[float] = ..., max_mad_share: _Optional[float] = ..., max_outlier_share: _Optional[float] = ..., max_neighbour_load: _Optional[float] = ..., max_slowdown: _Optional[float] = ...) -> None: ...

class Preflight(_message.Message):
    __slots__ = ("max_above_idle_c", "max_cooldown_ms", "max_pressure", "refuse")
    MAX_ABOVE_IDLE_C_FIELD_NUMBER: _ClassVar[int]
    MAX_COOLDOWN_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    REFUSE_FIELD_NUMBER: _ClassVar[int]
    max_above_idle_c: float
    max_cooldown_ms: int
    max_pressure: float
    refuse: bool
    def __init__(self, max_above_idle_c: _Optional[float] = ..., max_cooldown_ms: _Optional[int] = ..., max_pressure: _Optional[float] = ..., refuse: bool = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("rule", "value", "limit", "passed", "text", "preflight")
    RULE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    rule: str
    value: float
    limit: float
    passed: bool
    text: str
    preflight: bool
    def __init__(self, rule: _Optional[str] = ..., value: _Optional[float] = ..., limit: _Optional[float] = ..., passed: bool = ..., text: _Optional[str] = ..., preflight: bool = ...) -> None: ...

class WorkerLimits(_message.Message):
    __slots__ = ("deadline_ms", "address_space_mib")
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_SPACE_MIB_FIELD_NUMBER: _ClassVar[int]
    deadline_ms: int
    address_space_mib: int
    def __init__(self, deadline_ms: _Optional[int] = ..., address_space_mib: _Optional[int] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("examples",)
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    examples: Artifact
    def __init__(self, examples: _Optional[_Union[Artifact, _Mapping]] = ...) -> None: ...

class Outputs(_message.Message):
    __slots__ = ("shape", "dtype", "content", "count")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    content: bytes
    count: int
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., content: _Optional[bytes] = ..., count: _Optional[int] = ...) -> None: ...

class MeasureJob(_message.Message):
    __slots__ = ("job_id", "attempt", "fence", "model", "runtime", "protocol", "protocol_hash", "limits", "input_seed", "energy", "evaluation")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_HASH_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SEED_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    fence: int
    model: Artifact
    runtime: RuntimeSpec
    protocol: MeasurementProtocol
    protocol_hash: str
    limits: WorkerLimits
    input_seed: int
    energy: _energy_pb2.EnergyProtocol
    evaluation: Evaluation
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., model: _Optional[_Union[Artifact, _Mapping]] = ..., runtime: _Optional[_Union[RuntimeSpec, _Mapping]] = ..., protocol: _Optional[_Union[MeasurementProtocol, _Mapping]] = ..., protocol_hash: _Optional[str] = ..., limits: _Optional[_Union[WorkerLimits, _Mapping]] = ..., input_seed: _Optional[int] = ..., energy: _Optional[_Union[_energy_pb2.EnergyProtocol, _Mapping]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("median_ms", "low_ms", "high_ms", "p5_ms", "p90_ms", "p95_ms", "mad_ms", "load_ms", "first_ms", "inner_loops", "samples_ns", "set_aside", "warmup_runs", "warmup_ms")
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
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_RUNS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_MS_FIELD_NUMBER: _ClassVar[int]
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
    set_aside: _containers.RepeatedScalarFieldContainer[int]
    warmup_runs: int
    warmup_ms: float
    def __init__(self, median_ms: _Optional[float] = ..., low_ms: _Optional[float] = ..., high_ms: _Optional[float] = ..., p5_ms: _Optional[float] = ..., p90_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., mad_ms: _Optional[float] = ..., load_ms: _Optional[float] = ..., first_ms: _Optional[float] = ..., inner_loops: _Optional[int] = ..., samples_ns: _Optional[_Iterable[int]] = ..., set_aside: _Optional[_Iterable[int]] = ..., warmup_runs: _Optional[int] = ..., warmup_ms: _Optional[float] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("baseline_kib", "load_peak_kib", "run_peak_kib", "arena_kib")
    BASELINE_KIB_FIELD_NUMBER: _ClassVar[int]
    LOAD_PEAK_KIB_FIELD_NUMBER: _ClassVar[int]
    RUN_PEAK_KIB_FIELD_NUMBER: _ClassVar[int]
    ARENA_KIB_FIELD_NUMBER: _ClassVar[int]
    baseline_kib: int
    load_peak_kib: int
    run_peak_kib: int
    arena_kib: int
    def __init__(self, baseline_kib: _Optional[int] = ..., load_peak_kib: _Optional[int] = ..., run_peak_kib: _Optional[int] = ..., arena_kib: _Optional[int] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("temperature_before_c", "temperature_after_c", "governor", "frequency_khz", "load_average", "involuntary_switches", "lowest_frequency_khz", "target_frequency_khz", "throttle_bits", "idle_temperature_c", "cpu_pressure", "neighbour_load", "major_faults", "swapped_pages", "cpus", "fixed_work_ns", "slowdown")
    TEMPERATURE_BEFORE_C_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_AFTER_C_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_KHZ_FIELD_NUMBER: _ClassVar[int]
    LOAD_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    INVOLUNTARY_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FREQUENCY_KHZ_FIELD_NUMBER: _ClassVar[int]
    TARGET_FREQUENCY_KHZ_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_BITS_FIELD_NUMBER: _ClassVar[int]
    IDLE_TEMPERATURE_C_FIELD_NUMBER: _ClassVar[int]
    CPU_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_LOAD_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FAULTS_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_PAGES_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    FIXED_WORK_NS_FIELD_NUMBER: _ClassVar[int]
    SLOWDOWN_FIELD_NUMBER: _ClassVar[int]
    temperature_before_c: float
    temperature_after_c: float
    governor: str
    frequency_khz: int
    load_average: float
    involuntary_switches: int
    lowest_frequency_khz: int
    target_frequency_khz: int
    throttle_bits: int
    idle_temperature_c: float
    cpu_pressure: float
    neighbour_load: float
    major_faults: int
    swapped_pages: int
    cpus: str
    fixed_work_ns: int
    slowdown: float
    def __init__(self, temperature_before_c: _Optional[float] = ..., temperature_after_c: _Optional[float] = ..., governor: _Optional[str] = ..., frequency_khz: _Optional[int] = ..., load_average: _Optional[float] = ..., involuntary_switches: _Optional[int] = ..., lowest_frequency_khz: _Optional[int] = ..., target_frequency_khz: _Optional[int] = ..., throttle_bits: _Optional[int] = ..., idle_temperature_c: _Optional[float] = ..., cpu_pressure: _Optional[float] = ..., neighbour_load: _Optional[float] = ..., major_faults: _Optional[int] = ..., swapped_pages: _Optional[int] = ..., cpus: _Optional[str] = ..., fixed_work_ns: _Optional[int] = ..., slowdown: _Optional[float] = ...) -> None: ...

class MeasureResult(_message.Message):
    __slots__ = ("job_id", "attempt", "fence", "model_sha256", "protocol_hash", "verdict", "message", "runtime", "latency", "memory", "conditions", "started_unix_ms", "total_ms", "fetch_ms", "measuring_ms", "evidence", "cooldown_ms", "energy", "outputs")
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
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_MS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
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
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    cooldown_ms: float
    energy: _energy_pb2.Energy
    outputs: Outputs
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., model_sha256: _Optional[str] = ..., protocol_hash: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., message: _Optional[str] = ..., runtime: _Optional[_Union[RuntimeSpec, _Mapping]] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., started_unix_ms: _Optional[int] = ..., total_ms: _Optional[float] = ..., fetch_ms: _Optional[float] = ..., measuring_ms: _Optional[float] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., cooldown_ms: _Optional[float] = ..., energy: _Optional[_Union[_energy_pb2.Energy, _Mapping]] = ..., outputs: _Optional[_Union[Outputs, _Mapping]] = ...) -> None: ...
