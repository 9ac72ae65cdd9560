"""The plugins that come with agentd, and which of them are on by default."""

DEFAULTS: dict[str, tuple[str, ...]] = {
    "collectors": (
        "bonding",
        "cpu",
        "diskstats",
        "entropy",
        "filefd",
        "filesystem",
        "infiniband",
        "kernel_hung",
        "loadavg",
        "meminfo",
        "netclass",
        "netdev",
        "os",
        "pressure",
        "schedstat",
        "selinux",
        "stat",
        "textfile",
        "time",
        "uname",
        "vmstat",
    ),
    "exporters": ("prometheus",),
}
"""By kind, the names of the plugins that run without being configured: those that node_exporter enables by default."""
