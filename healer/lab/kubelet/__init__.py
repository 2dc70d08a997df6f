"""The lab's kubelet. It simulates pods; an annotation of a pod selects how it behaves."""
