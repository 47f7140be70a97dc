"""How the rows of training come to a worker: where they lie, and the batches made of them."""
