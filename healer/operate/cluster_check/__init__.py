"""What in the cluster would keep rules from working: the checks of `healer check --cluster`, a file for each."""
