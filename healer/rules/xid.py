"""What NVIDIA's catalogue of Xid errors says to do, by number: restart the application, or leave the device to who mends nodes.

Sources: docs.nvidia.com/deploy/xid-errors (the catalogue, column "immediate action"), docs.nvidia.com/health-validation
(46 and 48: drain, then reset_gpu, then service_required). A number that is not listed here is a human's: the catalogue has many
that depend on the GPU's generation.
"""

import re
from enum import StrEnum

from healer.model.signal import Signal


class XidClass(StrEnum):
    """What is at fault, and so what helps."""

    APPLICATION = "application"
    """The process on the GPU: restart the pod. The same node may have it again."""
    DEVICE = "device"
    """The GPU or its node: the pod needs another one, and the node is left to its remediator."""
    UNKNOWN = "unknown"
    """Not listed: a human must look."""


XIDS: dict[int, tuple[XidClass, str]] = {
    13: (XidClass.APPLICATION, "graphics engine exception"),
    31: (XidClass.APPLICATION, "GPU memory page fault"),
    43: (XidClass.APPLICATION, "the driver stopped a channel of the application"),
    45: (XidClass.APPLICATION, "the application's channels were torn down"),
    94: (XidClass.APPLICATION, "contained memory error"),
    46: (XidClass.DEVICE, "the GPU stopped processing"),
    48: (XidClass.DEVICE, "double bit memory error"),
    74: (XidClass.DEVICE, "NVLink error"),
    79: (XidClass.DEVICE, "the GPU has fallen off the bus"),
    95: (XidClass.DEVICE, "uncontained memory error"),
    119: (XidClass.DEVICE, "the GPU's system processor does not answer"),
    140: (XidClass.DEVICE, "unrecovered memory error"),
}
"""The class of each number, and what it stands for."""

_LABELS = ("xid", "err_code", "XID")
"""The labels that may carry the number: that of deploy/alerts and of DCGM_EXP_XID_ERRORS_COUNT and _TOTAL, and that of
DCGM_FI_DEV_XID_ERRORS. Alerts of others may carry it in an annotation of such a name: `xid: "{{ $value }}"`."""
_NUMBER = re.compile(r"([0-9]{1,4})(?:\.0+)?", re.ASCII)


def xid_of(signal: Signal) -> int | None:
    """The number that an alert carries; None where it carries none (0 is no error), or two that differ."""
    texts = [source[name] for source in (signal.labels, signal.annotations) for name in _LABELS if name in source]
    numbers = {int(found[1]) for text in texts if (found := _NUMBER.fullmatch(text.strip())) is not None} - {0}
    return numbers.pop() if len(numbers) == 1 else None


def xid_class(signal: Signal) -> str | None:
    """The class of the number that an alert carries; None where it carries none."""
    number = xid_of(signal)
    return None if number is None else str(XIDS.get(number, (XidClass.UNKNOWN, ""))[0])
