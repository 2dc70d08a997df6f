"""TensorFlow Serving: models.config in a ConfigMap, and the status of models."""
