"""How much of this host's memory is used.

Import at the top of the file alone: modules are loaded while the plugin is
built, and there are no files to load any from later.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.check_api import Report
from wit_world.exports.lifecycle import ConfigError
from wit_world.imports import config, system
from wit_world.imports.types import Attr, Error_Other, Status


def read_limits(text):
    """The options, in percent, or what is wrong with them."""
    limits = {"warn": 80, "critical": 90, **json.loads(text)}
    for name in ("warn", "critical"):
        if isinstance(limits[name], bool) or not isinstance(limits[name], (int, float)):
            return limits, [ConfigError(f"/{name}", "is not a number")]
    if limits["warn"] > limits["critical"]:
        return limits, [ConfigError("/warn", "is above critical, so it would never be reached")]
    return limits, []


def host_error(error):
    """What the host says, as a person reads it: `denied: grants.system`."""
    word = type(error).__name__.removeprefix("Error_").lower()
    if isinstance(error, Error_Other):
        return f"{error.value.key}: {error.value.value}"
    value = getattr(error, "value", None)
    return word if value is None else f"{word}: {value}"


class Lifecycle(exports.Lifecycle):
    def configure(self, config_json):
        """Called when a spec is applied and before each run."""
        _, problems = read_limits(config_json)
        if problems:
            raise Err(problems)


class CheckApi(exports.CheckApi):
    def run(self):
        """One run. Err means that the check itself broke, which is shown as
        unknown; what is wrong with the host is a report."""
        try:
            return look()
        except Err:
            raise
        except Exception as error:
            # Uncaught it would count as a crash of the plugin.
            raise Err(f"{type(error).__name__}: {error}")


def look():
    limits, problems = read_limits(config.json())
    if problems:
        raise Err(f"{problems[0].pointer} {problems[0].message}")
    try:
        memory = system.get_memory()
    except Err as error:
        raise Err(host_error(error.value))
    if memory.total == 0:
        raise Err("this host does not say how much memory it has")

    used = (memory.used * 100 + memory.total // 2) // memory.total
    if used >= limits["critical"]:
        status = Status.CRITICAL
    elif used >= limits["warn"]:
        status = Status.WARNING
    else:
        status = Status.OK
    return Report(status, f"{used} % of memory used", "", [Attr("used_percent", str(used))])
