"""A lab's folder: the daemon's settings, and where everything of it lies."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator
from sqlalchemy import URL

from hilnas.options import Options, OptionsError, parse_options
from hilnas.store import ModelFiles

SETTINGS_FILE = "daemon.toml"
_SYSTEM = Path("/var/lib/hilnas")


class LabOptions(Options):
    """`daemon.toml` of a lab's folder; all of it may be left out."""

    listen: str = ""
    """Where agents and users dial in over TLS, such as 0.0.0.0:50817; nowhere when empty."""
    listen_join: str = ""
    """Where new devices dial in with a join token; nowhere when empty."""
    listen_local: str = "127.0.0.1:50816"
    """Where agents of this machine, and of boards behind an SSH tunnel, dial in with the lab's token; loopback only."""
    metrics: str = "127.0.0.1:9464"
    """Where Prometheus reads; nowhere when empty."""
    store: str = ""
    """SQLAlchemy URL of the record, such as postgresql+psycopg://…; a SQLite file in the folder when empty."""
    searches: int = Field(2, ge=1, le=1000)
    """Searches that run at once; others wait."""
    local_agent: bool = False
    """Run an agent on this machine, as the device "local"."""
    local_cpus: list[int] = Field(default=[])
    """Processors that its workers are pinned to; the last one when empty."""
    user_weights: Mapping[str, float] = Field(default={})
    """Share of device time of a user against others; 1 for those not named."""
    user_plugins: list[str] = Field(default=[])
    """Code that recipes of users may name by dotted path: "package.module:Class", or a package. An admin's may all."""
    user_clusters: list[str] = Field(default=[])
    """Addresses of Ray clusters that recipes of users may name as `executor.address`. An admin's may name any."""
    user_data: list[Path] = Field(default=[])
    """Folders whose files recipes of users may read. An admin's may read all that the daemon may."""
    canary_minutes: float = Field(5, gt=0)
    """A device in quarantine reads the reference model so often."""
    keep_days: float = Field(30, ge=0)
    """Models that no search refers to, and examples, are removed after so many days; 0 keeps them."""
    tunnel_silence_s: float = Field(30, ge=1, le=600)
    """A board behind a tunnel that says nothing for so long is dialled anew."""

    @field_validator("user_weights")
    @classmethod
    def _above_nothing(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        for name, weight in weights.items():
            if not weight > 0:
                raise ValueError(f"the weight of {name} must be above 0")
        return weights

    @field_validator("listen", "listen_join", "listen_local", "metrics")
    @classmethod
    def _address(cls, address: str) -> str:
        if not address:
            return address
        name, colon, port = address.rpartition(":")
        if not (name and colon and port.isdigit() and int(port) <= 65535):
            raise ValueError("write an address and a port, such as 127.0.0.1:50817")
        return address


def default_folder() -> Path:
    """Return where a lab lies unless somebody says otherwise: $HILNAS_LAB, /var/lib/hilnas for root, else at home."""
    named = os.environ.get("HILNAS_LAB", "")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return _SYSTEM
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data.startswith("/") else Path.home() / ".local/share") / "hilnas/lab"


@dataclass(frozen=True)
class Lab:
    """A lab's folder."""

    folder: Path
    options: LabOptions

    @classmethod
    def open(cls, folder: Path) -> "Lab":
        """Read a lab's settings. OptionsError names what is wrong in them."""
        path = folder / SETTINGS_FILE
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise OptionsError(f"{path} is no TOML: {error}") from error
        return cls(folder, parse_options(LabOptions, data, ""))

    @property
    def socket(self) -> Path:
        """Where clients on this machine dial in."""
        return self.folder / "daemon.sock"

    @property
    def store(self) -> str | URL:
        """Database of the record."""
        return self.options.store or URL.create("sqlite", database=str(self.folder / "record.sqlite"))

    @property
    def models(self) -> ModelFiles:
        """Models of all searches."""
        return ModelFiles(self.folder / "models")

    @property
    def examples(self) -> ModelFiles:
        """Examples that devices run."""
        return ModelFiles(self.folder / "models", ".npy")

    @property
    def searches(self) -> Path:
        """Results of all searches."""
        return self.folder / "searches"

    def search_folder(self, search_id: str) -> Path:
        """Return where a search keeps its results."""
        return self.searches / search_id

    @property
    def authority(self) -> Path:
        """Folder of the lab's certificate authority."""
        return self.folder / "ca"

    @property
    def ssh(self) -> Path:
        """Folder of the key and the list of the tunnels that the daemon holds."""
        return self.folder / "ssh"

    @property
    def token_file(self) -> Path:
        """The token of agents that dial in without a certificate, on loopback."""
        return self.folder / "token"

    def token(self) -> str:
        """Return the lab's token, made at the first call."""
        import secrets

        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            token = secrets.token_urlsafe(32)
            descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
            return token
