"""The data loaders of a worker: where its rows are kept, and how batches are made of them."""
