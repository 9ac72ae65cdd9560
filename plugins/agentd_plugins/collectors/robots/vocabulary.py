"""What robots say: one table from the names of fields to metrics and scales.

Names of fields are those of plain JSON, of VDA 5050 (2.x and 3.0), of ROS 2's messages and of MAVLink's; a nested field
is written with dots, capitals do not count, and ``*`` stands for the value of a label.
"""

from collections.abc import Mapping

PERCENT, MILLI, CENTI, HECTO, MEBI = 0.01, 0.001, 0.01, 100.0, 2.0**20

TEXTS: Mapping[str, str] = {
    "operatingmode": "operating_mode",
    "operating_mode": "operating_mode",
    "mode": "operating_mode",
    "state": "state",
    "status": "state",
    "robot_state": "state",
    "safetystate.estop": "estop_active",
    "safetystate.activeemergencystop": "estop_active",
    "estop": "estop_active",
}
"""Fields whose value is a text out of a few: each becomes the value of a label."""

STOPS = ("AUTOACK", "MANUAL", "REMOTE")
"""Emergency stops of VDA 5050: each is told as 0 where none is active."""

NO_STOP = frozenset({"none", "false", "0", ""})
"""Texts of an emergency stop that is not active."""


Meant = tuple[float, ...] | Mapping[float, float | None]

CHARGING_ROS: Meant = {0: None, 1: 1, 2: 0, 3: 0, 4: 0}
"""sensor_msgs/BatteryState: unknown, charging, discharging, not charging, full."""

CHARGING_MAVLINK: Meant = {0: None, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 1}
"""MAV_BATTERY_CHARGE_STATE: undefined, five degrees of low, unhealthy, charging."""

ON_MISSION: Meant = {0: None, 1: 0, 2: 0, 3: 1, 4: 1, 5: 0}
"""MISSION_STATE: unknown, none, not started, active, paused, complete."""

SAYINGS: tuple[tuple[str, tuple[str | None, ...], float, Meant, str], ...] = (
    # Metric, labels beside the robot, scale, values for "not known" (or values, and what each of them means), and the
    # fields that mean it.
    ("battery_charge_ratio", (), PERCENT, (), "battery_level battery_percentage battery_percent battery.level"),
    (
        "battery_charge_ratio",
        (),
        PERCENT,
        (),
        "battery.percentage batteryState.batteryCharge powerSupply.stateOfCharge",
    ),
    ("battery_charge_ratio", (), PERCENT, (-1,), "battery_remaining SYS_STATUS.battery_remaining"),
    ("battery_charge_ratio", (), PERCENT, (-1,), "BATTERY_STATUS.battery_remaining"),
    ("battery_charge_ratio", ("*",), PERCENT, (), "batteries.*.level batteries.*.percentage"),
    ("battery_voltage_volts", (), 1, (), "battery_voltage battery.voltage batteryState.batteryVoltage"),
    ("battery_voltage_volts", (), 1, (), "powerSupply.batteryVoltage"),
    ("battery_voltage_volts", (), MILLI, (65535,), "SYS_STATUS.voltage_battery"),
    ("battery_voltage_volts", ("*",), 1, (), "batteries.*.voltage"),
    ("battery_charge_ratio", (), 1, (), "BatteryState.percentage battery_state.percentage"),  # ROS 2: from 0 to 1
    ("battery_voltage_volts", (), 1, (), "BatteryState.voltage battery_state.voltage"),
    ("battery_current_amperes", (), 1, (), "BatteryState.current battery_state.current"),
    ("battery_temperature_celsius", (), 1, (), "BatteryState.temperature battery_state.temperature"),
    ("battery_current_amperes", (), 1, (), "battery_current battery.current powerSupply.batteryCurrent"),
    ("battery_current_amperes", (), -CENTI, (-1,), "SYS_STATUS.current_battery BATTERY_STATUS.current_battery"),
    ("battery_current_amperes", ("*",), 1, (), "batteries.*.current"),
    ("battery_temperature_celsius", (), 1, (), "battery_temperature battery.temperature"),
    ("battery_temperature_celsius", (), CENTI, (32767,), "BATTERY_STATUS.temperature"),
    ("battery_temperature_celsius", ("*",), 1, (), "batteries.*.temperature"),
    ("battery_health_ratio", (), PERCENT, (), "battery_health batteryState.batteryHealth powerSupply.batteryHealth"),
    ("battery_health_ratio", (), PERCENT, (255,), "BATTERY_INFO.state_of_health"),
    ("battery_cycles_total", (), 1, (), "battery_cycles cycle_count"),
    ("battery_cycles_total", (), 1, (65535,), "BATTERY_INFO.cycle_count SMART_BATTERY_INFO.cycle_count"),
    ("battery_time_remaining_seconds", (), 1, (0,), "BATTERY_STATUS.time_remaining"),
    ("battery_charging", (), 1, (), "charging is_charging battery.charging batteryState.charging powerSupply.charging"),
    ("battery_charging", (), 1, CHARGING_ROS, "BatteryState.power_supply_status battery_state.power_supply_status"),
    ("battery_charging", (), 1, CHARGING_MAVLINK, "BATTERY_STATUS.charge_state"),
    ("battery_range_meters", (), 1, (), "reach batteryState.reach powerSupply.range"),
    ("power_watts", (), 1, (), "power power_w power_watts energy.power_watts"),
    ("power_watts", ("*",), 1, (), "power.*"),
    ("energy_joules_total", (), 1, (), "energy_joules energy_j energy.joules"),
    ("energy_joules_total", (), HECTO, (-1,), "BATTERY_STATUS.energy_consumed"),
    ("energy_joules_total", ("*",), 1, (), "energy.joules.*"),
    ("cpu_utilization_ratio", (), PERCENT, (), "cpu_usage cpu.usage cpu_percent cpu.percent"),
    ("cpu_utilization_ratio", (), MILLI, (), "SYS_STATUS.load"),
    ("memory_utilization_ratio", (), PERCENT, (), "memory_usage memory.usage memory_percent memory.percent"),
    ("memory_used_bytes", (), 1, (), "memory_used memory.used"),
    ("memory_used_bytes", (), MEBI, (2**32 - 1,), "ONBOARD_COMPUTER_STATUS.ram_usage"),
    ("filesystem_utilization_ratio", (), PERCENT, (), "disk_usage disk.usage disk_percent disk.percent"),
    ("filesystem_utilization_ratio", ("*",), PERCENT, (), "disk.*.usage"),
    ("filesystem_free_bytes", (), 1, (), "disk_free disk.free"),
    ("filesystem_free_bytes", ("*",), 1, (), "disk.*.free"),
    ("network_receive_bytes_total", ("*",), 1, (), "network.*.rx_bytes"),
    ("network_transmit_bytes_total", ("*",), 1, (), "network.*.tx_bytes"),
    ("link_rssi_dbm", (), 1, (), "rssi_dbm wifi.rssi_dbm"),
    ("link_rssi_dbm", ("*",), 1, (), "network.*.rssi_dbm"),
    ("reported_network_latency_seconds", (), MILLI, (), "network_latency_ms network.latency_ms"),
    ("temperature_celsius", (), 1, (), "temperature temperature_c"),
    ("temperature_celsius", ("*",), 1, (), "temperature.* temperatures.*"),
    ("temperature_celsius", ("board",), 1, (127,), "ONBOARD_COMPUTER_STATUS.temperature_board"),
    ("gpu_utilization_ratio", (), PERCENT, (), "gpu_usage gpu.usage"),
    ("gpu_utilization_ratio", ("*",), PERCENT, (), "gpus.*.usage"),
    ("gpu_power_watts", (), 1, (), "gpu_power gpu.power"),
    ("gpu_power_watts", ("*",), 1, (), "gpus.*.power"),
    ("position_meters", ("x",), 1, (), "position.x pose.position.x pose.pose.position.x agvPosition.x"),
    ("position_meters", ("y",), 1, (), "position.y pose.position.y pose.pose.position.y agvPosition.y"),
    ("position_meters", ("z",), 1, (), "position.z pose.position.z pose.pose.position.z"),
    ("position_meters", ("x",), 1, (), "mobileRobotPosition.x"),
    ("position_meters", ("y",), 1, (), "mobileRobotPosition.y"),
    ("position_meters", ("x", "local_ned"), 1, (), "LOCAL_POSITION_NED.x"),
    ("position_meters", ("y", "local_ned"), 1, (), "LOCAL_POSITION_NED.y"),
    ("position_meters", ("z", "local_ned"), 1, (), "LOCAL_POSITION_NED.z"),
    ("heading_radians", (), 1, (), "theta heading position.theta agvPosition.theta mobileRobotPosition.theta"),
    ("heading_radians", ("local_ned",), 1, (), "ATTITUDE.yaw"),
    ("velocity_meters_per_second", ("x",), 1, (), "speed velocity velocity.vx velocity.linear.x twist.linear.x"),
    ("velocity_meters_per_second", ("x",), 1, (), "twist.twist.linear.x"),
    ("velocity_meters_per_second", ("y",), 1, (), "velocity.vy velocity.linear.y twist.linear.y twist.twist.linear.y"),
    ("velocity_meters_per_second", ("z",), 1, (), "velocity.linear.z twist.linear.z twist.twist.linear.z"),
    ("velocity_meters_per_second", ("x",), 1, (), "ODOMETRY.vx"),
    ("velocity_meters_per_second", ("y",), 1, (), "ODOMETRY.vy"),
    ("velocity_meters_per_second", ("z",), 1, (), "ODOMETRY.vz"),
    ("angular_velocity_radians_per_second", ("x",), 1, (), "velocity.angular.x twist.angular.x twist.twist.angular.x"),
    ("angular_velocity_radians_per_second", ("y",), 1, (), "velocity.angular.y twist.angular.y twist.twist.angular.y"),
    ("angular_velocity_radians_per_second", ("z",), 1, (), "velocity.angular.z twist.angular.z twist.twist.angular.z"),
    ("angular_velocity_radians_per_second", ("z",), 1, (), "velocity.omega yawspeed"),
    ("angular_velocity_radians_per_second", ("x",), 1, (), "ATTITUDE.rollspeed ODOMETRY.rollspeed"),
    ("angular_velocity_radians_per_second", ("y",), 1, (), "ATTITUDE.pitchspeed ODOMETRY.pitchspeed"),
    ("angular_velocity_radians_per_second", ("z",), 1, (), "ATTITUDE.yawspeed ODOMETRY.yawspeed"),
    ("odometer_meters_total", (), 1, (), "odometer odometer_m"),
    ("localized", (), 1, (), "agvPosition.positionInitialized mobileRobotPosition.localized"),
    ("localization_score_ratio", (), 1, (), "agvPosition.localizationScore mobileRobotPosition.localizationScore"),
    ("localization_deviation_meters", (), 1, (), "agvPosition.deviationRange mobileRobotPosition.deviationRange"),
    ("localization_deviation_meters", (), 1, (), "ESTIMATOR_STATUS.pos_horiz_accuracy"),
    ("clock_synchronized", (), 1, (), "clock.synchronized ntp_synchronized NTPSynchronized"),
    ("joint_position_radians", ("*",), 1, (), "joints.*.position"),
    ("joint_effort_newton_meters", ("*",), 1, (), "joints.*.effort"),
    ("joint_temperature_celsius", ("*",), 1, (), "joints.*.temperature"),
    ("joint_current_amperes", ("*",), 1, (), "joints.*.current"),
    ("motor_angular_velocity_radians_per_second", ("*",), 1, (), "motors.*.velocity"),
    ("motor_temperature_celsius", ("*",), 1, (), "motors.*.temperature"),
    ("protective_field_violation", (), 1, (), "safetyState.fieldViolation"),
    ("errors_active", ("*",), 1, (), "errors_active.*"),
    ("mission_active", (), 1, ON_MISSION, "MISSION_CURRENT.mission_state"),
    ("sensor_healthy", ("*",), 1, (), "sensors.*.healthy"),
    ("topic_messages_total", ("*",), 1, (), "topics.*.messages"),
    ("topic_age_seconds", ("*",), 1, (), "topics.*.age"),
    ("topic_age_seconds", ("*",), MILLI, (), "topics.*.age_ms"),
    ("topic_latency_seconds", ("*",), 1, (), "topics.*.latency"),
    ("topic_latency_seconds", ("*",), MILLI, (), "topics.*.latency_ms"),
)
