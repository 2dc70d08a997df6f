"""The lab's API server: it answers as kube-apiserver does."""
