"""The attributes of a power supply (Documentation/ABI/testing/sysfs-class-power), and what they are called here."""

from typing import NamedTuple

WORDS = (
    *("capacity_level", "charge_type", "health", "manufacturer", "model_name", "serial_number"),
    *("status", "technology", "type", "usb_type", "scope"),
)
"""Attributes that are texts."""


class Attribute(NamedTuple):
    """An attribute that is a number."""

    name: str
    """The last part of its metric's name."""
    help: str
    divisor: float = 1.0
    """What the file's number is divided by, to be in the unit of the metric."""
    unit: str = ""
    """The unit, where the name does not say it, or another one."""


MICRO = 1e6
TENTH = 10.0

ATTRIBUTES = {
    "authentic": Attribute("authentic", "Whether the supply is from its maker: 1 or 0."),
    "calibrate": Attribute("calibrate", "Whether the supply is being calibrated: 1 or 0."),
    "capacity": Attribute("capacity", "How full the battery is, in percent.", unit="%"),
    "capacity_alert_max": Attribute(
        "capacity_alert_max", "Capacity above which there is an alert, in percent.", unit="%"
    ),
    "capacity_alert_min": Attribute(
        "capacity_alert_min", "Capacity below which there is an alert, in percent.", unit="%"
    ),
    "cycle_count": Attribute("cyclecount", "How many times the battery was charged and discharged."),
    "online": Attribute("online", "Whether the supply gives power: 1, or 2 where it is a programmable one; 0."),
    "present": Attribute("present", "Whether the battery is there: 1 or 0."),
    "time_to_empty_now": Attribute("time_to_empty_seconds", "Seconds until the battery is empty."),
    "time_to_full_now": Attribute("time_to_full_seconds", "Seconds until the battery is full."),
    "current_boot": Attribute("current_boot", "Current at boot, in amperes.", MICRO, "amperes"),
    "current_max": Attribute("current_max", "Greatest current, in amperes.", MICRO, "amperes"),
    "current_now": Attribute("current_ampere", "Current, in amperes; its sign is the driver's.", MICRO),
    "energy_empty": Attribute(
        "energy_empty", "Energy at which the battery counts as empty, in watt-hours.", MICRO, "watt-hours"
    ),
    "energy_empty_design": Attribute(
        "energy_empty_design", "Energy at which a new one counts as empty, in watt-hours.", MICRO, "watt-hours"
    ),
    "energy_full": Attribute("energy_full", "Energy of the full battery, in watt-hours.", MICRO, "watt-hours"),
    "energy_full_design": Attribute(
        "energy_full_design", "Energy of a new, full one, in watt-hours.", MICRO, "watt-hours"
    ),
    "energy_now": Attribute("energy_watthour", "Energy in the battery, in watt-hours.", MICRO),
    "voltage_boot": Attribute("voltage_boot", "Voltage at boot, in volts.", MICRO, "volts"),
    "voltage_max": Attribute("voltage_max", "Greatest voltage, in volts.", MICRO, "volts"),
    "voltage_max_design": Attribute("voltage_max_design", "Greatest voltage by design, in volts.", MICRO, "volts"),
    "voltage_min": Attribute("voltage_min", "Least voltage, in volts.", MICRO, "volts"),
    "voltage_min_design": Attribute("voltage_min_design", "Least voltage by design, in volts.", MICRO, "volts"),
    "voltage_now": Attribute("voltage_volt", "Voltage, in volts.", MICRO),
    "voltage_ocv": Attribute("voltage_ocv", "Voltage that it would have without load, in volts.", MICRO, "volts"),
    "charge_control_limit": Attribute(
        "charge_control_limit", "Limit of the charging current, in amperes.", MICRO, "amperes"
    ),
    "charge_control_limit_max": Attribute(
        "charge_control_limit_max", "Greatest such limit, in amperes.", MICRO, "amperes"
    ),
    "charge_counter": Attribute(
        "charge_counter", "Charge that went in less what went out, in ampere-hours.", MICRO, "ampere-hours"
    ),
    "charge_empty": Attribute(
        "charge_empty", "Charge at which the battery counts as empty, in ampere-hours.", MICRO, "ampere-hours"
    ),
    "charge_empty_design": Attribute(
        "charge_empty_design", "Charge at which a new one counts as empty, in ampere-hours.", MICRO, "ampere-hours"
    ),
    "charge_full": Attribute("charge_full", "Charge of the full battery, in ampere-hours.", MICRO, "ampere-hours"),
    "charge_full_design": Attribute(
        "charge_full_design", "Charge of a new, full one, in ampere-hours.", MICRO, "ampere-hours"
    ),
    "charge_now": Attribute("charge_ampere", "Charge in the battery, in ampere-hours.", MICRO, "ampere-hours"),
    "charge_term_current": Attribute(
        "charge_term_current", "Current at which charging ends, in amperes.", MICRO, "amperes"
    ),
    "constant_charge_current": Attribute("constant_charge_current", "Charging current, in amperes.", MICRO, "amperes"),
    "constant_charge_current_max": Attribute(
        "constant_charge_current_max", "Greatest charging current, in amperes.", MICRO, "amperes"
    ),
    "constant_charge_voltage": Attribute("constant_charge_voltage", "Charging voltage, in volts.", MICRO, "volts"),
    "constant_charge_voltage_max": Attribute(
        "constant_charge_voltage_max", "Greatest charging voltage, in volts.", MICRO, "volts"
    ),
    "precharge_current": Attribute(
        "precharge_current", "Current for a deeply empty battery, in amperes.", MICRO, "amperes"
    ),
    "input_current_limit": Attribute(
        "input_current_limit", "Limit of the current from outside, in amperes.", MICRO, "amperes"
    ),
    "power_now": Attribute("power_watt", "Power, in watts.", MICRO),
    "temp": Attribute("temp_celsius", "Temperature, in degrees Celsius.", TENTH),
    "temp_alert_max": Attribute("temp_alert_max_celsius", "Temperature above which there is an alert.", TENTH),
    "temp_alert_min": Attribute("temp_alert_min_celsius", "Temperature below which there is an alert.", TENTH),
    "temp_ambient": Attribute("temp_ambient_celsius", "Temperature around it, in degrees Celsius.", TENTH),
    "temp_ambient_max": Attribute(
        "temp_ambient_max_celsius", "Temperature around it above which there is an alert.", TENTH
    ),
    "temp_ambient_min": Attribute(
        "temp_ambient_min_celsius", "Temperature around it below which there is an alert.", TENTH
    ),
    "temp_max": Attribute("temp_max_celsius", "Greatest temperature, in degrees Celsius.", TENTH),
    "temp_min": Attribute("temp_min_celsius", "Least temperature, in degrees Celsius.", TENTH),
}
"""The numbers that are told, by the names of their files."""
