"""The same chain over a Ray cluster: a list of images in blocks, preprocessing and offline model on
the workers, parts in Parquet and one score from them; and how long a cluster would take.
"""
