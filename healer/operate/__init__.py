"""What people do to a running healer, and ask of it, through the cluster: pause, approve, explain."""
