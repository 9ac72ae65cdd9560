"""Tasks that hung, from /proc/sys/kernel/hung_task_detect_count."""

from agentd.plugin import Collector, Config, Family, NoData, counter, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class KernelHung(Collector[Config]):
    """Tasks that waited uninterruptibly for longer than ``kernel.hung_task_timeout_secs``."""

    name = "kernel_hung"
    blocking = False

    tasks = counter("node_kernel_hung_tasks_total", "Number of tasks that the kernel has found hanging since boot.")

    def collect(self) -> list[Family]:
        """Return the kernel's count."""
        try:
            return [self.tasks(parsed(self.host, "sys/kernel/hung_task_detect_count", float))]
        except FileNotFoundError:
            raise NoData("the kernel does not count hung tasks: it needs CONFIG_DETECT_HUNG_TASK") from None


@hookimpl
def agentd_collectors() -> list[type[KernelHung]]:
    """Register the collector."""
    return [KernelHung]
