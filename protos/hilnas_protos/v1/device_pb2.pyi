from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuntimeInfo(_message.Message):
    __slots__ = ("name", "version", "xnnpack_int8")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    XNNPACK_INT8_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    xnnpack_int8: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., xnnpack_int8: bool = ...) -> None: ...

class MeterInfo(_message.Message):
    __slots__ = ("name", "boundary", "rate_hz", "coarse")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    COARSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    boundary: str
    rate_hz: float
    coarse: bool
    def __init__(self, name: _Optional[str] = ..., boundary: _Optional[str] = ..., rate_hz: _Optional[float] = ..., coarse: bool = ...) -> None: ...

class DeviceInfo(_message.Message):
    __slots__ = ("cpu_model", "machine", "board_model", "cores", "memory_kib", "os", "kernel", "python", "runtimes", "meters")
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    BOARD_MODEL_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_KIB_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    cpu_model: str
    machine: str
    board_model: str
    cores: int
    memory_kib: int
    os: str
    kernel: str
    python: str
    runtimes: _containers.RepeatedCompositeFieldContainer[RuntimeInfo]
    meters: _containers.RepeatedCompositeFieldContainer[MeterInfo]
    def __init__(self, cpu_model: _Optional[str] = ..., machine: _Optional[str] = ..., board_model: _Optional[str] = ..., cores: _Optional[int] = ..., memory_kib: _Optional[int] = ..., os: _Optional[str] = ..., kernel: _Optional[str] = ..., python: _Optional[str] = ..., runtimes: _Optional[_Iterable[_Union[RuntimeInfo, _Mapping]]] = ..., meters: _Optional[_Iterable[_Union[MeterInfo, _Mapping]]] = ...) -> None: ...
