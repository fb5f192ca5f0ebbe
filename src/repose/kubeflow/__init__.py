"""Compile dvc.yaml to Kubeflow pipelines, run their tasks in pods, and submit runs. Works for any stages."""
