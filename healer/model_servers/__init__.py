"""Model servers: how the status of their models is read, and how a version is pinned. A folder or file for each."""
