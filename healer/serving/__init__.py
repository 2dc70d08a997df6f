"""TensorFlow Serving: its models.config in a ConfigMap, and the status that its servers report."""
