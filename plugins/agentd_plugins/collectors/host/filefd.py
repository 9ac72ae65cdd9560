"""Open files of the whole machine, from /proc/sys/fs/file-nr."""

from agentd.plugin import Collector, Config, Frame, Layout, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Filefd(Collector[Config]):
    """File handles that the kernel has given out, and how many it may."""

    name = "filefd"
    blocking = False

    allocated = gauge("node_filefd_allocated", "Number of file handles that the kernel has allocated.")
    maximum = gauge("node_filefd_maximum", "Number of file handles that the kernel may allocate (fs.file-max).")

    _layout = Layout([allocated(0.0), maximum(0.0)])

    def collect(self) -> Frame:
        """Return both numbers."""
        return self._layout.fill(parsed(self.host, "sys/fs/file-nr", parse))


def parse(text: bytes) -> tuple[float, float]:
    """Return the allocated and the greatest possible number of file handles from a file-nr file (proc_sys_fs(5)).

    The number between the two, of free handles, has been 0 since Linux 2.6.
    """
    fields = text.split(maxsplit=3)
    if len(fields) < 3:
        raise ValueError(f"expected three numbers in file-nr, found {text[:80]!r}")
    return float(fields[0]), float(fields[2])


@hookimpl
def agentd_collectors() -> list[type[Filefd]]:
    """Register the collector."""
    return [Filefd]
