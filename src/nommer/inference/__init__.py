"""Models on disk at work: evaluated on labelled images, predicting on others."""
