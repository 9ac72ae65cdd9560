"""The plugins that come with agentd, and which of them are on by default."""

from pathlib import Path

DEFAULTS: dict[str, tuple[str, ...]] = {
    "collectors": (
        "arp",
        "bcache",
        "bcachefs",
        "bonding",
        "btrfs",
        "conntrack",
        "cpu",
        "cpufreq",
        "diskstats",
        "dmi",
        "dmmultipath",
        "edac",
        "entropy",
        "fibrechannel",
        "filefd",
        "filesystem",
        "hwmon",
        "infiniband",
        "ipvs",
        "kernel_hung",
        "loadavg",
        "mdadm",
        "meminfo",
        "netclass",
        "netdev",
        "netstat",
        "nfs",
        "nfsd",
        "nvme",
        "os",
        "powersupplyclass",
        "pressure",
        "rapl",
        "schedstat",
        "selinux",
        "sockstat",
        "softnet",
        "stat",
        "tapestats",
        "textfile",
        "thermal_zone",
        "time",
        "timex",
        "udp_queues",
        "uname",
        "vmstat",
        "watchdog",
        "xfs",
        "zfs",
    ),
    "exporters": ("prometheus",),
}
"""By kind, the names of the plugins that run without being configured: those that node_exporter enables by default."""

WITHOUT_PROCFS: dict[str, tuple[str, ...]] = {
    "collectors": ("battery", "os", "psutil", "sensors", "textfile", "time", "uname"),
    "exporters": ("prometheus",),
}
"""The same for systems that have no /proc, on which psutil asks in other ways."""


PATHS: dict[str, str] = {"/metrics": "exporters.prometheus", "/api/telemetry": "collectors.robots"}
"""Paths that are there, with all below them, only where a plugin runs; and the section that adds it."""


def defaults(kind: str) -> tuple[str, ...]:
    """Return the names of the plugins of a kind that run on this system without being configured."""
    return (DEFAULTS if Path("/proc/stat").exists() else WITHOUT_PROCFS).get(kind, ())
