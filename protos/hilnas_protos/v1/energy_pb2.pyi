from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnergyVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENERGY_VERDICT_UNSPECIFIED: _ClassVar[EnergyVerdict]
    ENERGY_VERDICT_TRUSTED: _ClassVar[EnergyVerdict]
    ENERGY_VERDICT_UNSTABLE: _ClassVar[EnergyVerdict]
    ENERGY_VERDICT_BELOW_RESOLUTION: _ClassVar[EnergyVerdict]
    ENERGY_VERDICT_UNAVAILABLE: _ClassVar[EnergyVerdict]
ENERGY_VERDICT_UNSPECIFIED: EnergyVerdict
ENERGY_VERDICT_TRUSTED: EnergyVerdict
ENERGY_VERDICT_UNSTABLE: EnergyVerdict
ENERGY_VERDICT_BELOW_RESOLUTION: EnergyVerdict
ENERGY_VERDICT_UNAVAILABLE: EnergyVerdict

class EnergyProtocol(_message.Message):
    __slots__ = ("meter", "idle_ms", "busy_ms", "coarse_busy_ms", "min_readings", "min_runs", "repeats", "max_idle_change", "max_spread", "min_snr", "confidence")
    METER_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    BUSY_MS_FIELD_NUMBER: _ClassVar[int]
    COARSE_BUSY_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_READINGS_FIELD_NUMBER: _ClassVar[int]
    MIN_RUNS_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    MAX_IDLE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    MAX_SPREAD_FIELD_NUMBER: _ClassVar[int]
    MIN_SNR_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    meter: str
    idle_ms: int
    busy_ms: int
    coarse_busy_ms: int
    min_readings: int
    min_runs: int
    repeats: int
    max_idle_change: float
    max_spread: float
    min_snr: float
    confidence: float
    def __init__(self, meter: _Optional[str] = ..., idle_ms: _Optional[int] = ..., busy_ms: _Optional[int] = ..., coarse_busy_ms: _Optional[int] = ..., min_readings: _Optional[int] = ..., min_runs: _Optional[int] = ..., repeats: _Optional[int] = ..., max_idle_change: _Optional[float] = ..., max_spread: _Optional[float] = ..., min_snr: _Optional[float] = ..., confidence: _Optional[float] = ...) -> None: ...

class Energy(_message.Message):
    __slots__ = ("verdict", "message", "meter", "boundary", "rate_hz", "net_mj", "low_mj", "high_mj", "gross_mj", "idle_mw", "busy_mw", "runs", "repeats_mj")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    NET_MJ_FIELD_NUMBER: _ClassVar[int]
    LOW_MJ_FIELD_NUMBER: _ClassVar[int]
    HIGH_MJ_FIELD_NUMBER: _ClassVar[int]
    GROSS_MJ_FIELD_NUMBER: _ClassVar[int]
    IDLE_MW_FIELD_NUMBER: _ClassVar[int]
    BUSY_MW_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    REPEATS_MJ_FIELD_NUMBER: _ClassVar[int]
    verdict: EnergyVerdict
    message: str
    meter: str
    boundary: str
    rate_hz: float
    net_mj: float
    low_mj: float
    high_mj: float
    gross_mj: float
    idle_mw: float
    busy_mw: float
    runs: int
    repeats_mj: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, verdict: _Optional[_Union[EnergyVerdict, str]] = ..., message: _Optional[str] = ..., meter: _Optional[str] = ..., boundary: _Optional[str] = ..., rate_hz: _Optional[float] = ..., net_mj: _Optional[float] = ..., low_mj: _Optional[float] = ..., high_mj: _Optional[float] = ..., gross_mj: _Optional[float] = ..., idle_mw: _Optional[float] = ..., busy_mw: _Optional[float] = ..., runs: _Optional[int] = ..., repeats_mj: _Optional[_Iterable[float]] = ...) -> None: ...
