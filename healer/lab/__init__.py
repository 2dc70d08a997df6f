"""The lab: an embedded Kubernetes cluster for the demo, tests and simulations.

Why not kmock: kmock 0.8 records the requests of a client and emulates stored objects over HTTP. But its objects have no
resourceVersion; it has no conflicts, selectors, pages, bookmarks, 410, subresources, preconditions or real Status bodies; and
its patches merge lists as plain JSON. healer's promises depend on these, so the lab implements them. tests/contract compares
the lab with recorded answers of a real API server.
"""

from healer.lab.faults import Fault, Faults, Requests, SeenRequest
from healer.lab.lab import Lab
from healer.lab.workload import serving

__all__ = ["Fault", "Faults", "Lab", "Requests", "SeenRequest", "serving"]
