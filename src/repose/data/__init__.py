"""What the stages read and write: skeleton, records, images, shards, the layouts of the data sets, mannequins."""
