"""What healer observes, each source turning what it sees into signals."""
