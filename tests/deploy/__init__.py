"""The image, the locks and the manifests that carry healer into a cluster."""
