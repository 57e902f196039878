"""``info``: what is running."""

import platform

import fastce
from fastce._cli.output import Document, table


def cpu_name() -> str:
    """Give the processor's name as the system has it, or its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def run() -> Document:
    """Collect the configuration of fastce and of the machine."""
    return {
        "ok": True,
        **fastce.show_config(mode="dict"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
    }


def render(document: Document) -> str:
    """Write the document of `run` as a table."""

    def text(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return str(value)

    rows = [[key.replace("_", " "), text(value)] for key, value in document.items() if key != "ok"]
    return table(["fastce", ""], rows, left=2)
