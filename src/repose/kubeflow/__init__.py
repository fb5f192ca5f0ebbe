"""From dvc.yaml to Kubeflow: the compiler, what a task does in its pod, and the client. It knows no stage of repose."""
