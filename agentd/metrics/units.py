"""The unit of a metric, as its name tells it."""

UNITS = {
    "bytes": "bytes",
    "bits": "bits",
    "seconds": "seconds",
    "timestamp_seconds": "seconds since 1970",
    "celsius": "°C",
    "volts": "volts",
    "volt": "volts",
    "amps": "amperes",
    "ampere": "amperes",
    "watt": "watts",
    "watts": "watts",
    "joule": "joules",
    "joules": "joules",
    "hertz": "hertz",
    "rpm": "turns a minute",
    "ratio": "ratio, 0 to 1",
    "sectors": "sectors of 512 bytes",
    "percent": "%",
    "bytes_per_second": "bytes a second",
    "bits_per_second": "bits a second",
    "transfers_per_second": "transfers a second",
    "dbm": "dBm",
    "watthour": "watt-hours",
    "info": "always 1",
}
"""The units that names end in, before ``_total``."""


def unit(name: str) -> str:
    """Return the unit that a metric's name tells; nothing for plain numbers."""
    plain = name.removesuffix("_total").removesuffix("_max").removesuffix("_min")
    endings = (ending for ending in sorted(UNITS, key=len, reverse=True) if plain.endswith(f"_{ending}"))
    return next((UNITS[ending] for ending in endings), "")
