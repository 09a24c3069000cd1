"""What is evaluated: each task opens a data set, writes results, scores and draws them."""
