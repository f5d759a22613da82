from hilnas_protos.v1 import measurement_pb2 as _measurement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "started_unix", "agents_address", "api_address", "searches", "devices", "jobs_waiting", "jobs_running", "draining", "folder", "warnings")
    class SearchesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class DevicesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_FIELD_NUMBER: _ClassVar[int]
    AGENTS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    API_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    JOBS_WAITING_FIELD_NUMBER: _ClassVar[int]
    JOBS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    version: str
    started_unix: float
    agents_address: str
    api_address: str
    searches: _containers.ScalarMap[str, int]
    devices: _containers.ScalarMap[str, int]
    jobs_waiting: int
    jobs_running: int
    draining: bool
    folder: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., started_unix: _Optional[float] = ..., agents_address: _Optional[str] = ..., api_address: _Optional[str] = ..., searches: _Optional[_Mapping[str, int]] = ..., devices: _Optional[_Mapping[str, int]] = ..., jobs_waiting: _Optional[int] = ..., jobs_running: _Optional[int] = ..., draining: bool = ..., folder: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("recipe", "priority", "weight", "user")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    recipe: str
    priority: str
    weight: float
    user: str
    def __init__(self, recipe: _Optional[str] = ..., priority: _Optional[str] = ..., weight: _Optional[float] = ..., user: _Optional[str] = ...) -> None: ...

class Search(_message.Message):
    __slots__ = ("id", "name", "user", "status", "message", "phase", "priority", "weight", "created_unix", "trials", "trials_wanted", "device_s", "recipe", "best_reward")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    TRIALS_WANTED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_S_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    BEST_REWARD_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    user: str
    status: str
    message: str
    phase: str
    priority: str
    weight: float
    created_unix: float
    trials: int
    trials_wanted: int
    device_s: float
    recipe: str
    best_reward: float
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., user: _Optional[str] = ..., status: _Optional[str] = ..., message: _Optional[str] = ..., phase: _Optional[str] = ..., priority: _Optional[str] = ..., weight: _Optional[float] = ..., created_unix: _Optional[float] = ..., trials: _Optional[int] = ..., trials_wanted: _Optional[int] = ..., device_s: _Optional[float] = ..., recipe: _Optional[str] = ..., best_reward: _Optional[float] = ...) -> None: ...

class ListSearchesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSearchesResponse(_message.Message):
    __slots__ = ("searches",)
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    searches: _containers.RepeatedCompositeFieldContainer[Search]
    def __init__(self, searches: _Optional[_Iterable[_Union[Search, _Mapping]]] = ...) -> None: ...

class GetSearchRequest(_message.Message):
    __slots__ = ("search",)
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    search: str
    def __init__(self, search: _Optional[str] = ...) -> None: ...

class WatchSearchRequest(_message.Message):
    __slots__ = ("search", "after")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    search: str
    after: int
    def __init__(self, search: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class WatchSearchResponse(_message.Message):
    __slots__ = ("number", "at_unix", "kind", "trial", "payload", "search")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_unix: float
    kind: str
    trial: int
    payload: str
    search: Search
    def __init__(self, number: _Optional[int] = ..., at_unix: _Optional[float] = ..., kind: _Optional[str] = ..., trial: _Optional[int] = ..., payload: _Optional[str] = ..., search: _Optional[_Union[Search, _Mapping]] = ...) -> None: ...

class ChangeSearchRequest(_message.Message):
    __slots__ = ("search", "action")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    search: str
    action: str
    def __init__(self, search: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class FetchResultsRequest(_message.Message):
    __slots__ = ("search",)
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    search: str
    def __init__(self, search: _Optional[str] = ...) -> None: ...

class FetchResultsResponse(_message.Message):
    __slots__ = ("name", "size_bytes", "chunk")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    chunk: bytes
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "device_class", "state", "reason", "since_unix", "labels", "search", "user", "reserved_until_unix", "seen_unix", "facts", "agent_kib", "busy_share", "held_since_unix")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RESERVED_UNTIL_UNIX_FIELD_NUMBER: _ClassVar[int]
    SEEN_UNIX_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_KIB_FIELD_NUMBER: _ClassVar[int]
    BUSY_SHARE_FIELD_NUMBER: _ClassVar[int]
    HELD_SINCE_UNIX_FIELD_NUMBER: _ClassVar[int]
    name: str
    device_class: str
    state: str
    reason: str
    since_unix: float
    labels: _containers.ScalarMap[str, str]
    search: str
    user: str
    reserved_until_unix: float
    seen_unix: float
    facts: str
    agent_kib: int
    busy_share: float
    held_since_unix: float
    def __init__(self, name: _Optional[str] = ..., device_class: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., since_unix: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., search: _Optional[str] = ..., user: _Optional[str] = ..., reserved_until_unix: _Optional[float] = ..., seen_unix: _Optional[float] = ..., facts: _Optional[str] = ..., agent_kib: _Optional[int] = ..., busy_share: _Optional[float] = ..., held_since_unix: _Optional[float] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("labels",)
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices",)
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    def __init__(self, devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ...) -> None: ...

class GetDeviceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AddDeviceRequest(_message.Message):
    __slots__ = ("name", "device_class", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    device_class: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., device_class: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ChangeDeviceRequest(_message.Message):
    __slots__ = ("name", "action", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    action: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class LabelDeviceRequest(_message.Message):
    __slots__ = ("name", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetDeviceHistoryRequest(_message.Message):
    __slots__ = ("name", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class DeviceEvent(_message.Message):
    __slots__ = ("at_unix", "kind", "text")
    AT_UNIX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    at_unix: float
    kind: str
    text: str
    def __init__(self, at_unix: _Optional[float] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class GetDeviceHistoryResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[DeviceEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[DeviceEvent, _Mapping]]] = ...) -> None: ...

class ReserveDeviceRequest(_message.Message):
    __slots__ = ("name", "seconds", "user")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    name: str
    seconds: float
    user: str
    def __init__(self, name: _Optional[str] = ..., seconds: _Optional[float] = ..., user: _Optional[str] = ...) -> None: ...

class WatchFarmRequest(_message.Message):
    __slots__ = ("search_id",)
    SEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    search_id: str
    def __init__(self, search_id: _Optional[str] = ...) -> None: ...

class WatchFarmResponse(_message.Message):
    __slots__ = ("devices", "activity", "measuring_here")
    class ActivityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    MEASURING_HERE_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedScalarFieldContainer[str]
    activity: _containers.ScalarMap[str, str]
    measuring_here: bool
    def __init__(self, devices: _Optional[_Iterable[str]] = ..., activity: _Optional[_Mapping[str, str]] = ..., measuring_here: bool = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("search_id", "ask")
    SEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    search_id: str
    ask: str
    def __init__(self, search_id: _Optional[str] = ..., ask: _Optional[str] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("result", "facts", "rules_known", "given_up", "failed_on", "attempts", "verdict")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    RULES_KNOWN_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    FAILED_ON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    result: _measurement_pb2.MeasureResult
    facts: str
    rules_known: bool
    given_up: str
    failed_on: str
    attempts: int
    verdict: str
    def __init__(self, result: _Optional[_Union[_measurement_pb2.MeasureResult, _Mapping]] = ..., facts: _Optional[str] = ..., rules_known: bool = ..., given_up: _Optional[str] = ..., failed_on: _Optional[str] = ..., attempts: _Optional[int] = ..., verdict: _Optional[str] = ...) -> None: ...

class ReportDeviceRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReportDeviceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TunnelHop(_message.Message):
    __slots__ = ("user", "host", "port", "host_key")
    USER_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOST_KEY_FIELD_NUMBER: _ClassVar[int]
    user: str
    host: str
    port: int
    host_key: str
    def __init__(self, user: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., host_key: _Optional[str] = ...) -> None: ...

class Tunnel(_message.Message):
    __slots__ = ("board", "port", "hops", "state", "since_unix", "message", "kept_by", "kept_unix")
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEPT_BY_FIELD_NUMBER: _ClassVar[int]
    KEPT_UNIX_FIELD_NUMBER: _ClassVar[int]
    board: str
    port: int
    hops: _containers.RepeatedCompositeFieldContainer[TunnelHop]
    state: str
    since_unix: float
    message: str
    kept_by: str
    kept_unix: float
    def __init__(self, board: _Optional[str] = ..., port: _Optional[int] = ..., hops: _Optional[_Iterable[_Union[TunnelHop, _Mapping]]] = ..., state: _Optional[str] = ..., since_unix: _Optional[float] = ..., message: _Optional[str] = ..., kept_by: _Optional[str] = ..., kept_unix: _Optional[float] = ...) -> None: ...

class ListTunnelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTunnelsResponse(_message.Message):
    __slots__ = ("tunnels",)
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    tunnels: _containers.RepeatedCompositeFieldContainer[Tunnel]
    def __init__(self, tunnels: _Optional[_Iterable[_Union[Tunnel, _Mapping]]] = ...) -> None: ...

class GetTunnelKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTunnelKeyResponse(_message.Message):
    __slots__ = ("public_key",)
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: str
    def __init__(self, public_key: _Optional[str] = ...) -> None: ...

class KeepTunnelRequest(_message.Message):
    __slots__ = ("port", "hops", "user")
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    port: int
    hops: _containers.RepeatedCompositeFieldContainer[TunnelHop]
    user: str
    def __init__(self, port: _Optional[int] = ..., hops: _Optional[_Iterable[_Union[TunnelHop, _Mapping]]] = ..., user: _Optional[str] = ...) -> None: ...

class ForgetTunnelRequest(_message.Message):
    __slots__ = ("hops",)
    HOPS_FIELD_NUMBER: _ClassVar[int]
    hops: _containers.RepeatedCompositeFieldContainer[TunnelHop]
    def __init__(self, hops: _Optional[_Iterable[_Union[TunnelHop, _Mapping]]] = ...) -> None: ...
