"""Score systems on the test pairs of a split, without DVC or params.yaml.

test = read_test_set(images=..., keypoints=..., posemaps=..., split=..., metrics=["ssim/pg2", "torso-ciede2000"], ...)
scored = {one.name: score(one, test) for one in baselines(test.photos, real=False)}
print(means(scored, test))
"""
