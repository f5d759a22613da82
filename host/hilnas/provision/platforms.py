"""Which wheels a board can install: pip's names of platforms, and the environment of its markers."""

from dataclasses import dataclass

from hilnas.provision.facts import BoardFacts

_OLDEST_MINOR = 17
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Platform:
    """What decides on a wheel: processor, Python, C library."""

    machine: str
    """x86_64, aarch64 or armv7l."""
    python: str
    """"3.11"."""
    glibc: tuple[int, int]

    @classmethod
    def of(cls, facts: BoardFacts) -> "Platform":
        """Return that of a board that `facts.check` let pass."""
        assert facts.glibc is not None
        return cls(facts.machine, facts.python.version, facts.glibc)

    @property
    def name(self) -> str:
        """A name for people and folders: "aarch64-py3.11-glibc2.36"."""
        return f"{self.machine}-py{self.python}-glibc{self.glibc[0]}.{self.glibc[1]}"

    @property
    def from_system(self) -> frozenset[str]:
        """Distributions that come from the board's own packages: there is no wheel of NumPy for 32-bit ARM."""
        return frozenset({"numpy"}) if self.machine == "armv7l" else frozenset()

    def tags(self) -> list[str]:
        """Return pip's platform tags, newest first, plain Linux last."""
        oldest = 5 if self.machine == "x86_64" else _OLDEST_MINOR
        found = []
        for minor in range(self.glibc[1], oldest - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _OLD_NAMES:
                found.append(f"{_OLD_NAMES[minor]}_{self.machine}")
        return [*found, f"linux_{self.machine}"]

    def pip_words(self) -> list[str]:
        """Return the options that have pip download for this platform."""
        tag = "cp" + self.python.replace(".", "")
        words = [part for name in self.tags() for part in ("--platform", name)]
        words += ["--python-version", self.python, "--implementation", "cp"]
        return [*words, "--abi", tag, "--abi", "abi3", "--abi", "none"]

    def markers(self) -> dict[str, str]:
        """Return the environment in which requirements' markers are looked at."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }
