"""The verbs by which people operate a running healer through the cluster: pause, approve, explain and others."""
