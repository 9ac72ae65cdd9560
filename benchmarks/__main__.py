"""Run all benchmarks, or those that are named."""

import importlib
import platform
import sys

NAMES = (
    *(
        "scrape",
        "memory",
        "rendering",
        "startup",
        "isolation",
        "host",
        "idle",
        "events",
        "robots",
        "missions",
        "reload",
        "tls",
    ),
    "functions",
)


def main() -> None:
    names = sys.argv[1:] or NAMES
    print(f"Python {platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}")
    for name in names:
        if name not in NAMES:
            raise SystemExit(f"there is no benchmark {name}; there are {', '.join(NAMES)}")
        importlib.import_module(f"benchmarks.{name}").run()


main()
