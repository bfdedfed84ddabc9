"""The stream of training crops: their order, the read tasks, the batches of a rank."""
