"""Compile dvc.yaml to Kubeflow pipelines, run their tasks in pods, and submit runs. Nothing here is specific to repose's stages."""
