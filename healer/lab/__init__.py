"""The lab: an embedded Kubernetes cluster for the demo, tests and simulations.

Why not kmock: it is a fine recorder of what a client sends, and its emulator keeps objects over HTTP. But (kmock 0.8) it
gives objects no resourceVersion and knows no conflicts, selectors, pages, bookmarks, 410, subresources, preconditions
or Status bodies of the real texts, and its patches merge lists as plain JSON. healer's promises hang on exactly these,
so the lab serves them itself and is held to recorded answers of a real API server (tests/contract).
"""

from healer.lab.faults import Fault, Faults, Requests, SeenRequest
from healer.lab.lab import Lab
from healer.lab.workload import serving

__all__ = ["Fault", "Faults", "Lab", "Requests", "SeenRequest", "serving"]
