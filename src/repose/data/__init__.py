"""Photos, keypoints, pose maps, shards, tables, layouts of data sets, batches and augmentation."""
