"""What others have trained, in and out: weights, their files and names, cached vectors of frozen encoders."""
