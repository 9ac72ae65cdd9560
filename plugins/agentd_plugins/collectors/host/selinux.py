"""Whether SELinux is enabled and enforces its policy, from selinuxfs and /etc/selinux/config."""

from agentd.plugin import Collector, Config, Context, Family, gauge, hookimpl

DISABLED = -1.0
MODES = {b"enforcing": 1.0, b"permissive": 0.0}


class Selinux(Collector[Config]):
    """The mode of SELinux now, and the one that it has after a boot."""

    name = "selinux"
    # The configuration is a file on the root file system: one stat of an inode that is in memory since the last time,
    # as in the collector os, and only where SELinux is enabled.
    blocking = False

    enabled = gauge("node_selinux_enabled", "Whether SELinux is enabled: 1 or 0.")
    config_mode = gauge(
        "node_selinux_config_mode", "Configured mode of SELinux: 1 is enforcing, 0 permissive, -1 disabled or unknown."
    )
    current_mode = gauge("node_selinux_current_mode", "Mode of SELinux now: 1 is enforcing, 0 permissive, -1 unknown.")

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._file = self.host.path("etc/selinux/config")
        self._read: tuple[object, float] = (None, DISABLED)

    def collect(self) -> list[Family]:
        """Return whether it is enabled and, if so, both modes."""
        try:
            mode = float(self.host.sys("fs/selinux/enforce", lasting=True))
        except FileNotFoundError:  # selinuxfs is not mounted
            return [self.enabled(0.0)]
        except (OSError, ValueError):
            mode = DISABLED
        if self._without_policy():
            return [self.enabled(0.0)]
        return [self.enabled(1.0), self.config_mode(self._configured()), self.current_mode(mode)]

    def _without_policy(self) -> bool:
        # Until a policy is loaded, everything runs in the context in which the kernel began.
        try:
            return self.host.proc("self/attr/current").rstrip(b"\0\n") == b"kernel"
        except OSError:
            return False

    def _configured(self) -> float:
        try:
            status = self._file.stat()
            state = (status.st_mtime_ns, status.st_ino, status.st_size)
            if self._read[0] != state:
                self._read = (state, parse(self._file.read_bytes()))
        except OSError:
            return DISABLED
        return self._read[1]


def parse(text: bytes) -> float:
    """Return the mode that a selinux/config file (selinux_config(5)) asks for: 1, 0, or -1 for any other."""
    for line in text.split(b"\n"):
        name, equals, mode = line.strip().partition(b"=")
        if equals and name == b"SELINUX":
            return MODES.get(mode.strip(b'"'), DISABLED)
    return DISABLED


@hookimpl
def agentd_collectors() -> list[type[Selinux]]:
    """Register the collector."""
    return [Selinux]
