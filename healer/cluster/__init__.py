"""Access to the Kubernetes API: the client, the list-watch loop that fills the view, and the look-up of owners."""
