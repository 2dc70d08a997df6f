"""How a Kubernetes API server answers what healer sends: stated once, held against the lab and real binaries."""
