"""The lab's kubelet: hollow pods that behave as they are told."""
