"""`repose compare`: two sets of scores side by side, and whether the second is a regression (docs/compare.md).

`gates` is the block of params.yaml, `record` reads scores from a file or a git revision, `runs` those of a run on Kubeflow,
`pairs` tells a change from noise, `judge` says what each score is, `reports` writes it as Markdown, JSON and JUnit.
"""
